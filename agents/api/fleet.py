"""The base of views about the fleet: what stands in their paths, and which environments exist for the requester."""

from typing import ClassVar

from agents.api.paths import PATH_FIELDS
from controlplane.access.policy import environments_of
from controlplane.common.rest.views import ApiView


class FleetView(ApiView):
    path_fields: ClassVar = PATH_FIELDS

    @property
    def environments(self) -> frozenset[str] | None:
        """Those that the requester may see, for selectors; None where all."""
        return environments_of(self.request)
