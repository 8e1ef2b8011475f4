"""What a run's options make of each service that is declared: where its image comes from, whether it runs already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pytest_isolate.model.service import ServiceId, ServiceSpec
from pytest_isolate.model.used import Used
from pytest_isolate.planning.registries import prefixed
from pytest_isolate.declarations.external import use
from pytest_isolate.declarations.values import PULL_NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """The options that are about all services; what a service says itself wins.

    `prefixes` are by registry, `used` is by the service's name, or `stack.service`.
    """

    prefixes: Mapping[str, str] = field(default_factory=dict)
    pull: str | None = None
    platform: str | None = None
    used: Mapping[str, Used] = field(default_factory=dict)

    def apply(self, service: ServiceId, spec: ServiceSpec) -> ServiceSpec:
        """The service as this run has it."""
        fetched = replace(
            spec,
            image=self._find_name(spec),
            pull=spec.pull or self.pull,
            platform=spec.platform or self.platform,
        )
        used = self.used.get(str(service))
        return use(fetched, used) if used else fetched

    def _find_name(self, spec: ServiceSpec) -> str | None:
        """What is built here, or said to be on the engine already, is on no mirror."""
        if spec.image is None or spec.build or spec.pull == PULL_NEVER:
            return spec.image
        return prefixed(spec.image, self.prefixes)
