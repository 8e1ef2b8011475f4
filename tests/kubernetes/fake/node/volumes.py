"""Volumes of Pods as folders of this host, and the mounts that containers have of them."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kubernetes.fake.api.quantities import parse_quantity
from kubernetes.fake.api.store import Object, Store
from kubernetes.fake.node.environment import ConfigError, field_of_pod

ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
_READ_ONLY = ("secret", "configMap", "projected", "downwardAPI")
Files = dict[str, tuple[bytes, int]]


class PodVolumes:
    """Volumes of one Pod; `account_files` are those that a service account is given."""

    def __init__(self, folder: Path, store: Store, pod: Object, account_files: Mapping[str, bytes]) -> None:
        self._folder = folder
        self._store = store
        self._pod = pod
        self._account_files = account_files
        self._group = (pod["spec"].get("securityContext") or {}).get("fsGroup")

    def prepare(self) -> None:
        """Make all of them; ConfigError where a Secret or ConfigMap is not there yet."""
        for volume in self._pod["spec"].get("volumes") or ():
            self._prepare(volume)
        if self.has_account():
            self._write("account", {name: (data, 0o644) for name, data in self._account_files.items()})

    def has_account(self) -> bool:
        account = self._store.find(
            "serviceaccounts", self._pod["metadata"]["namespace"], self._pod["spec"]["serviceAccountName"]
        )
        told = self._pod["spec"].get("automountServiceAccountToken")
        return bool((account or {}).get("automountServiceAccountToken", True) if told is None else told)

    def _prepare(self, volume: Object) -> None:
        name = volume["name"]
        try:
            if "emptyDir" in volume or len(volume) == 1:
                self._make_empty(name)
            elif "secret" in volume or "configMap" in volume:
                self._write(name, self._read_source(volume))
            elif "projected" in volume:
                files: Files = {}
                for source in volume["projected"].get("sources") or ():
                    files.update(self._read_projected(source, volume["projected"]["defaultMode"]))
                self._write(name, files)
            elif "downwardAPI" in volume:
                self._write(name, self._read_fields(volume["downwardAPI"], volume["downwardAPI"]["defaultMode"]))
            elif "hostPath" not in volume:
                kind = next(key for key in volume if key != "name")
                raise ConfigError(f"volumes of the kind {kind} cannot be had here")
        except ConfigError as error:
            raise ConfigError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from None

    def _read_source(self, volume: Object) -> Files:
        if "secret" in volume:
            source = volume["secret"]
            return self._read_object("secrets", source["secretName"], source, source["defaultMode"])
        source = volume["configMap"]
        return self._read_object("configmaps", source["name"], source, source["defaultMode"])

    def _read_projected(self, source: Object, mode: int) -> Files:
        if "secret" in source:
            return self._read_object("secrets", source["secret"]["name"], source["secret"], mode)
        if "configMap" in source:
            return self._read_object("configmaps", source["configMap"]["name"], source["configMap"], mode)
        if "serviceAccountToken" in source:
            return {source["serviceAccountToken"]["path"]: (self._account_files["token"], mode)}
        return self._read_fields(source["downwardAPI"], mode)

    def _read_fields(self, source: Object, mode: int) -> Files:
        items = source.get("items") or ()
        found = {one["path"]: field_of_pod(self._pod, one["fieldRef"]["fieldPath"]) for one in items}
        return {path: (text.encode(), mode) for path, text in found.items()}

    def _read_object(self, plural: str, name: str, source: Object, mode: int) -> Files:
        found = self._store.find(plural, self._pod["metadata"]["namespace"], name)
        if found is None:
            if source.get("optional"):
                return {}
            raise ConfigError(f'{plural[:-1]} "{name}" not found')
        data = read_data(found)
        items = source.get("items")
        if items is None:
            return {key: (value, mode) for key, value in data.items()}
        if missing := [one["key"] for one in items if one["key"] not in data]:
            raise ConfigError(f"references non-existent {plural[:-1]} key: {missing[0]}")
        return {one["path"]: (data[one["key"]], one.get("mode") or mode) for one in items}

    def _make_empty(self, name: str) -> None:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        if self._group is not None:
            os.chown(folder, -1, self._group)
            folder.chmod(0o2777)

    def _write(self, name: str, files: Files) -> None:
        """Put files there as the kubelet does: links to a folder that is exchanged as a whole."""
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)
        real = folder / "..1"
        real.mkdir(parents=True)
        for path, (data, mode) in files.items():
            file = real / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            file.chmod(mode if self._group is None else mode | 0o440)
            if self._group is not None:
                os.chown(file, -1, self._group)
        (folder / "..data").symlink_to("..1")
        for entry in real.iterdir():
            (folder / entry.name).symlink_to(f"..data/{entry.name}")

    def mounts(self, container: Object) -> Iterator[dict[str, Any]]:
        """The mounts of a container, as Docker takes them."""
        volumes = {volume["name"]: volume for volume in self._pod["spec"].get("volumes") or ()}
        mounted = container.get("volumeMounts") or ()
        for mount in mounted:
            volume = volumes[mount["name"]]
            yield self._mount(volume, mount)
        if self.has_account() and not any(mount["mountPath"] == ACCOUNT_FOLDER for mount in mounted):
            yield bind(self._folder / "account", ACCOUNT_FOLDER, is_read_only=True)

    def _mount(self, volume: Object, mount: Object) -> dict[str, Any]:
        empty = volume.get("emptyDir")
        part = mount.get("subPath", "")
        if empty and empty.get("medium") == "Memory" and not part:
            options: dict[str, Any] = {"Mode": 0o1777}
            if empty.get("sizeLimit"):
                options["SizeBytes"] = int(parse_quantity(empty["sizeLimit"]))
            return {"Type": "tmpfs", "Target": mount["mountPath"], "TmpfsOptions": options}
        root = volume["hostPath"]["path"] if "hostPath" in volume else self._folder / volume["name"]
        source = Path(root, part)
        if part and not source.exists():
            source.mkdir(parents=True, mode=0o750)
        is_read_only = bool(mount.get("readOnly")) or any(kind in volume for kind in _READ_ONLY)
        return bind(source.resolve(), mount["mountPath"], is_read_only=is_read_only)


def bind(source: Path, target: str, *, is_read_only: bool) -> dict[str, Any]:
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": is_read_only}


def read_data(found: Object) -> dict[str, bytes]:
    """The entries of a Secret or a ConfigMap."""
    if found["kind"] == "Secret":
        return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    texts = {key: value.encode() for key, value in (found.get("data") or {}).items()}
    return {**texts, **{key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}}
