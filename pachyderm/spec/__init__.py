"""What a pipeline spec may say."""
