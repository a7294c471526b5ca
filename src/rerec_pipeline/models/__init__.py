"""Language models: loading, tokenizers' bytes, generation, benchmarks of other abilities."""
