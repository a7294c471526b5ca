# Serves the built-in sample: docker build -t rerec . && docker run -p 8000:8000 -e REREC_TOKEN=... rerec
FROM python:3.11-slim
# LightGBM needs libgomp.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY . .
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.lock
RUN pip install --no-cache-dir --no-deps --editable .
RUN kedro run
EXPOSE 8000
CMD ["kedro", "serve", "--host", "0.0.0.0", "--port", "8000"]
