"""Words from which the fabricated worlds are made. No title or name is meant to exist."""

FIRST_NAMES = (
    "Zoë", "José", "Renée", "Jürgen", "Søren", "Chloé", "Núria", "Ingrid", "Łukasz", "Amara",
    "Tomás", "Yuki", "Priya", "Kwame", "Beatriz", "Anders", "Ilse", "Mateo", "Noor", "Óscar",
    "Freya", "Dmitri", "Lucía", "Henrik", "Aiko", "Rosalind", "Cédric", "Marta", "Emeka", "Tove",
)  # fmt: skip

LAST_NAMES = (
    "Kovács", "O'Dwyer", "Nyström", "Peña", "Dvořák", "Okafor", "Lindqvist", "Brännström",
    "Castellane", "Varga", "Thorne", "Ishikawa", "Delacroix", "Mbeki-Stone", "Halloran", "Ibarra",
    "Szymański", "Achterberg", "Quintero", "Bellweather", "Fjeldstad", "Marchetti", "Osei",
    "Van der Loo", "Petrescu", "Güneş", "Ravensworth", "Tarkowska", "Nakagawa", "Ferreira",
)  # fmt: skip

ADJECTIVES = (
    "Silent", "Crimson", "Hollow", "Paper", "Velvet", "Broken", "Distant", "Golden", "Midnight",
    "Iron", "Painted", "Restless", "Winter", "Burning", "Secret", "Wandering", "Amber", "Glass",
    "Forgotten", "Electric", "Last", "Northern", "Sleeping", "Borrowed", "Invisible", "Salt",
)  # fmt: skip

NOUNS = (
    "Harbor", "Meridian", "Orchard", "Lantern", "Cathedral", "River", "Carousel", "Falcon",
    "Station", "Mirror", "Garden", "Letter", "Horizon", "Tower", "Island", "Waltz", "Shadow",
    "Empire", "Bridge", "Canyon", "Season", "Compass", "Theatre", "Voyage", "Kingdom", "Parade",
    "Clockwork", "Frontier", "Promise", "Labyrinth",
)  # fmt: skip

FOREIGN_TITLES = (
    "L'Été Immobile", "El Corazón de Sal", "Señor Quijada", "Café Señorial", "Über den Dächern",
    "La Niña del Faro", "Le Garçon au Télescope", "Das Mädchen im Nebel", "Noche de Cenizas",
    "Drømmen om Nord",
)  # fmt: skip

FILM_GENRES = (
    "Action", "Comedy", "Drama", "Film-Noir", "Musical", "Mystery", "Romance", "Sci-Fi",
    "Thriller", "Western",
)  # fmt: skip

BOOK_CATEGORIES = ("Biography", "Fantasy", "History", "Horror", "Poetry", "Travel")

#: MovieLens's codes of age groups, as the benchmark's demographics queries name them
AGE_GROUPS = {
    1: "Under 18", 18: "18-24", 25: "25-34", 35: "35-44", 45: "45-49", 50: "50-55", 56: "56+",
}  # fmt: skip

#: Some of MovieLens's occupation codes
OCCUPATIONS = {
    1: "educator", 2: "artist", 3: "clerk", 5: "customer service agent", 6: "doctor",
    8: "farmer", 11: "lawyer", 12: "programmer", 15: "scientist", 20: "writer",
}  # fmt: skip
