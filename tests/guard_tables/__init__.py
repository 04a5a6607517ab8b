"""What the guards are measured with: attacks, and harmless texts that look like them. Every second one was never tuned on."""
