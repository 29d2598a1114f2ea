"""What contributors run: the site, the reference, the measure of the prose; ``make`` calls them."""
