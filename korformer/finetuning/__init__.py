"""Fine-tuning: a pretrained model, or a new one, learns a task from examples."""
