"""Which use case is made of what: wired by plain code, in which a checker sees a swapped port."""
