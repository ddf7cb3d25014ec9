"""Every refusal of the core, under its public name."""

from .domain.errors import *  # noqa: F403
