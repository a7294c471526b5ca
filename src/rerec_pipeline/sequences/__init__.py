"""What users did one after another: ordered histories, next-item choices, SASRec."""
