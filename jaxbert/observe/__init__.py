"""What a run says about itself: lines, clocks, energy, curves, pages."""
