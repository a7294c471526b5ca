"""One rank of several jobs, one after the other: ``accelerate launch ... several_jobs.py JOB...``.

To import torch and transformers takes a rank longer than a training of three steps.
"""

import sys
from pathlib import Path

from rerec_pipeline.training.worker import main

if __name__ == "__main__":
    sys.exit(max(main(Path(job)) for job in sys.argv[1:]))
