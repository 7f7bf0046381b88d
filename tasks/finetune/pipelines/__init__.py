"""Fine-tuning tasks on text-to-image pipelines of diffusers, with rewards of images and prompts."""
