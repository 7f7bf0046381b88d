"""Fine-tuning with entropy regularisation: tune how strongly a reward tilts a diffusion model."""
