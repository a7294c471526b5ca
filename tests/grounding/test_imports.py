import subprocess
import sys

CODE = """
import sys
import rerec_pipeline.grounding.tables, rerec_pipeline.grounding.ranking
heavy = {"torch", "transformers", "kedro", "mlflow", "lightgbm", "plotly", "ibis"}
print(sorted(heavy & set(sys.modules)))
"""


def test_an_assistant_starts_without_what_it_does_not_need():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
