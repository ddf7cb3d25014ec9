"""Every event, under its public name."""

from .domain.events import *  # noqa: F403
