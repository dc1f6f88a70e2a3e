"""Choose the devices of a model: those that an option names, or with `auto` a GPU that works, else the CPU."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence

from ..artifacts.errors import DependencyError, DeviceError
from .devices import AUTO, AUTO_ORDER, CPU, Device, Devices, describe_provider, device_of_kind, parse_devices
from .session import check_provider, import_onnxruntime

logger = logging.getLogger(__name__)
# A serialized ONNX model with the node `y = Relu(x)`, float32 `[1]`: a session of it shows whether a provider works
_PROBE = bytes.fromhex(
    "08083a360a0c0a0178120179220452656c7512046d61696e5a0f0a0178120a0a08080112040a020801620f0a0179120a0a08080112040a0208"
    "0142040a00100d"
)
# A function that returns why a device cannot be used; None if it can
Probe = Callable[[Device], str | None]


def select_devices(
    text: str = AUTO, *, available: Callable[[], Sequence[str]] | None = None, probe: Probe | None = None
) -> Devices:
    """Return the devices of a model.

    :param text: the option `device`.
    :param available: returns the providers of ONNX Runtime; by default those of the installed package.
    :param probe: tells whether a device can be used; by default, a tiny session is created on it.
    :raises ConfigError: if the option names no device.
    :raises DeviceError: if a device that the option names cannot be used.
    :raises DependencyError: if the option names a device other than the CPU and ONNX Runtime is not installed.
    """
    devices = parse_devices(text)
    available, probe = available or available_providers, probe or probe_device
    if devices is None:
        return Devices([_automatic(available, probe)])
    for device in devices:
        if not device.is_cpu:
            _require(device, available(), probe)
    return Devices(devices)


def available_providers() -> Sequence[str]:
    """Return the names of the providers that the installed ONNX Runtime was built with."""
    names: list[str] = import_onnxruntime().get_available_providers()
    return names


@functools.cache
def _works(device: Device) -> bool:
    """Return True if a session can be created on a device, which is remembered, and raise DeviceError otherwise."""
    ort = import_onnxruntime()
    if device.provider == "CUDAExecutionProvider" and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # finds the libraries of CUDA that pip installed
    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(_PROBE, options, providers=device.providers(), enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions have no narrower common base class
        raise DeviceError(device.name, str(error)) from error
    check_provider(session, device)
    return True


def probe_device(device: Device) -> str | None:
    """Return why a device cannot be used; None if a session could be created on it."""
    try:
        _works(device)
    except DeviceError as error:
        return error.reason
    return None


def _automatic(available: Callable[[], Sequence[str]], probe: Probe) -> Device:
    """Return the first device of `AUTO_ORDER` that works, else the CPU."""
    try:
        providers = available()
    except DependencyError:  # raised again when a graph is loaded
        return CPU
    candidates = [device_of_kind(name) for name in AUTO_ORDER]
    built = [device for device in candidates if device.provider in providers]
    for device in built:
        reason = probe(device)
        if reason is None:
            logger.info("device auto: %s", device.name)
            return device
        logger.warning("device auto: %s cannot be used: %s", device.name, reason)
    if built:
        logger.warning("device auto: cpu, because no GPU can be used")
    else:
        names = ", ".join(candidate.name for candidate in candidates)
        logger.info("device auto: cpu, because this build of ONNX Runtime has none of %s", names)
    return CPU


def _require(device: Device, available: Sequence[str], probe: Probe) -> None:
    """Raise `DeviceError` if a device cannot be used."""
    if device.provider not in available:
        reason: str | None = f"{device.provider} is not in this build of ONNX Runtime"
    else:
        reason = probe(device)
    if reason is not None:
        raise DeviceError(device.name, reason, available=[describe_provider(name) for name in available])
    if describe_provider(device.provider) == device.provider:
        logger.warning("device %s is untested: it is passed to ONNX Runtime as it is", device.name)
