"""What a person looks at: accuracies with intervals, faithfulness, plots, transcripts."""
