"""Reference implementations for the course: small, tested, GPU-ready PyTorch."""
