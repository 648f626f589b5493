"""What windows are moved from, staged in and published to: one module for each system."""
