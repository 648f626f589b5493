"""The earlier name of `get_provider_info`, which installed metadata may still have."""

from .get_provider_info import get_provider_info

__all__ = ["get_provider_info"]
