"""What all pages share: one file, no network, readable on a phone, everything escaped."""

from html.parser import HTMLParser

import numpy as np
import plotly.graph_objects as go
import pytest

from rerec_pipeline.reporting import charts, pages, plots
from rerec_pipeline.reporting.plots import share_axis, styled_figure, whiskers
from rerec_pipeline.storage.reports import PagesDataset

VOID = {"meta", "input", "br", "path"}


class Outline(HTMLParser):
    """Opens and closes elements as a strict reader does."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.links, self.ids = [], [], [], []
        self.title = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        self.links += [attrs["href"]] if "href" in attrs else []
        self.ids += [attrs["id"]] if "id" in attrs else []
        assert "src" not in attrs and not any(name.startswith("on") for name in attrs)
        if tag not in VOID or (tag == "path" and not self.get_starttag_text().endswith("/>")):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-2:] == ["head", "title"]:
            self.title += data


def check_page(page, title, links):
    """Fails unless a page is whole, small, fit for a phone, and loads nothing."""
    outline = Outline(page)
    assert outline.title == title
    metas = [attrs for tag, attrs in outline.tags if tag == "meta"]
    assert {"name": "viewport", "content": "width=device-width,initial-scale=1"} in metas
    assert len(page.encode()) < 1_500_000
    assert set(outline.links) == links
    assert len(outline.ids) == len(set(outline.ids))
    assert not {"link", "img", "iframe", "object"} & {tag for tag, _ in outline.tags}
    assert "url(" not in page and "@import" not in page and "prefers-color-scheme:dark" in page
    titles = [attrs for tag, attrs in outline.tags if tag == "svg"]
    assert all(attrs["aria-label"] for attrs in titles)


class TestLinks:
    def test_only_pages_that_exist(self, tmp_path):
        run = tmp_path / "reports/book/rerec/seed-0"
        (run / "validation").mkdir(parents=True)
        for page in ("transcripts.html", "validation/diagnosis.html"):
            (run / page).write_text("")
        own = PagesDataset(path=str(run)).load()
        assert pages.links_within(own) == {"Transcripts": "transcripts.html"}
        assert pages.links_within(own, own="Transcripts") == {}
        start = tmp_path / "reports/experiments/e"
        every = PagesDataset(path=str(tmp_path / "reports"), start=str(start)).load()
        for folder, names in (("", ["Transcripts"]), ("/validation", ["Diagnosis"])):
            found = pages.links_within(every, f"book/rerec/seed-0{folder}")
            assert list(found) == names
            assert all((start / link).resolve().is_file() for link in found.values())
        assert pages.links_within(every, "book/grpo/seed-0") == {}


def test_what_a_template_is_given_is_escaped():
    figure = styled_figure("<script>1</script>", "<x>", "<y>")
    figure.add_scatter(x=["<b>"], y=[1.0], name='"><img src=x>', mode="markers")
    figure.add_hline(y=1, annotation_text="<note>")
    template = '{% from "parts.html" import chart %}{{ chart(figure) }}'
    html = pages._environment().from_string(template).render(figure=figure)
    assert {tag for tag, _ in Outline(html).tags} <= {
        "figure", "figcaption", "ul", "li", "div", "h4", "span", "svg", "path", "title", "p",
    }  # fmt: skip
    for text in ("script", "x", "y", "b", "note"):
        assert f"<{text}>" not in html and f"&lt;{text}&gt;" in html


class TestCharts:
    def figure(self, **axis):
        figure = styled_figure("T", "x", "y")
        figure.add_scatter(x=[1, 2, 3], y=[0.2, 0.3, 0.98], name="a", mode="lines")
        figure.update_yaxes(**axis)
        return figure

    def test_points_are_where_they_belong(self):
        (panel,) = charts.chart(self.figure(range=[0, 1])).panels
        assert panel.y.place([0, 0.25, 1, 7]).tolist() == [0, 25, 100, 100]
        assert [tick.lines for tick in panel.y.ticks] == [
            ["0.0"], ["0.2"], ["0.4"], ["0.6"], ["0.8"], ["1.0"],
        ]  # fmt: skip
        (line,) = panel.marks
        heights = [float(p.split()[1]) for p in line.path[1:].split("L")]
        assert heights == [800, 700, 20]

    @pytest.mark.parametrize("whole", [True, False])
    def test_no_axis_of_shares_goes_beyond_100_percent(self, whole):
        figure = self.figure()
        share_axis(figure, whole)
        (panel,) = charts.chart(figure).panels
        assert (panel.y.low, panel.y.high) == (0, 1)
        assert panel.y.ticks[-1].lines == ["100%"]

    def test_bars_stand_beside_each_other_and_whiskers_on_them(self):
        figure = styled_figure("T", "x", "y")
        for name, height in (("a", 0.5), ("b", 1.0)):
            bars = whiskers([height], [(0.25, 1.0)])
            figure.add_bar(x=["k"], y=[height], name=name, error_y=bars, marker_color="#111111")
        figure.update_layout(barmode="group").update_yaxes(range=[0, 1])
        drawn = charts.chart(figure)
        assert drawn.legend == {"a": "#111111", "b": "#111111"}
        bars = [mark for mark in drawn.panels[0].marks if mark.kind == "bar"]
        assert [bar.path for bar in bars] == [
            "M100 1000L500 1000L500 500L100 500Z", "M500 1000L900 1000L900 0L500 0Z",
        ]  # fmt: skip
        assert bars[0].title == "a: k, 0.5 (0.25 to 1)"
        whisker = next(mark for mark in drawn.panels[0].marks if mark.kind == "whisker")
        assert whisker.path == "M300 750L300 0"

    def test_bars_that_lie_and_bars_that_are_stacked(self):
        figure = styled_figure("T", "x", "y")
        figure.add_bar(x=[1.0, 4.0], y=["a", "b"], orientation="h", marker_color="#111111")
        figure.update_xaxes(range=[0, 4])
        bars = [mark.path for mark in charts.chart(figure).panels[0].marks]
        assert bars == ["M0 950L0 550L250 550L250 950Z", "M0 450L0 50L1000 50L1000 450Z"]
        figure = plots._stacked_bars(
            styled_figure("T", "x", "y"), ["k"],
            {"below": (np.array([1]), "#111111"), "above": (np.array([3]), "#222222")},
        )  # fmt: skip
        (panel,) = charts.chart(figure.update_yaxes(range=[0, 4])).panels
        assert [mark.path for mark in panel.marks] == [
            "M100 1000L900 1000L900 750L100 750Z", "M100 750L900 750L900 0L100 0Z",
        ]  # fmt: skip

    def test_logarithmic_axes_and_categories(self):
        figure = go.Figure(go.Scatter(x=[0.01, 1], y=["low", "high"], mode="markers"))
        figure.update_xaxes(type="log", range=[-2, 0]).update_yaxes(autorange="reversed")
        (panel,) = charts.chart(figure).panels
        assert panel.x.place([0.01, 0.1, 1]) == pytest.approx([0, 50, 100])
        assert [tick.lines for tick in panel.x.ticks] == [["0.01"], ["0.1"], ["1"]]
        assert panel.y.place(["low", "high"]).tolist() == [75, 25]  # the first one at the top

    def test_a_long_line_keeps_its_extremes(self):
        y = np.random.default_rng(0).normal(size=50_000)
        y[33_333] = 99
        x, kept = charts._thin(np.arange(len(y)), y)
        assert len(kept) <= charts.MOST_POINTS and kept.max() == 99 and kept.min() == y.min()
        assert (np.diff(x) > 0).all()
