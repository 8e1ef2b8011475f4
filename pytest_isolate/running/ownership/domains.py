"""Domains in which instances are shared: this process alone, the run (all workers), or later runs of the project."""

from __future__ import annotations

from msgspec import Struct

from pytest_isolate.model.identity import Run
from pytest_isolate.planning.placement import Place
from pytest_isolate.running.ownership.reuse import ReuseStore
from pytest_isolate.sharing.board import Board


class SharingDomain(Struct, frozen=True, kw_only=True):
    """The labels that objects carry, and the board on which they are published; no board means private."""

    run: Run
    board: Board | None = None

    @property
    def is_kept(self) -> bool:
        """True where its instances outlive the run."""
        return False


class KeptDomain(SharingDomain, frozen=True, kw_only=True):
    """The domain of what the project keeps."""

    reuse_store: ReuseStore

    @property
    def is_kept(self) -> bool:
        """True where its instances outlive the run."""
        return True


class SharingDomains(Struct, frozen=True, kw_only=True):
    """The domains of this process; `kept` where the run keeps what its workers share."""

    private: SharingDomain
    shared: SharingDomain
    kept: KeptDomain | None = None

    def of(self, place: Place) -> SharingDomain:
        """The run's own domain for a place: what belongs to a worker, module, class or test is private."""
        return self.private if place.node or place.worker else self.shared

    @property
    def run_ids(self) -> frozenset[str]:
        """The runs whose containers this process may use."""
        domains = (self.private, self.shared, self.kept)
        return frozenset(domain.run.run_id for domain in domains if domain)
