"""What Linux knows of the USB device behind a device file: maker, serial number, port.

The kernel lists them in ``sys`` (sysfs-bus-usb, Documentation/ABI/testing): a device file's entry
links to its interface, which lies in the folder of the device.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class UsbDevice:
    """One function of a USB device, such as a camera or a button.

    Attributes:
        vendor: four hexadecimal digits.
        product: likewise.
        serial: as the maker wrote it, which may be the same in all of its devices; empty if none.
        port: where it is plugged in, as "1-2.3": bus 1, port 2, port 3 of the hub there.
        interface: of the device, two hexadecimal digits; a device may hold several cameras.
    """

    vendor: str
    product: str
    serial: str
    port: str
    interface: str

    @property
    def source(self) -> str:
        """The name by which `open_source` finds it again."""
        return ":".join(("usb", self.vendor, self.product, *([self.serial] * bool(self.serial))))

    @property
    def shown(self) -> str:
        """Serial number and port for people, as "serial number 0042, port 1-2"."""
        serial = f"serial number {self.serial}" if self.serial else "no serial number"
        return f"{serial}, port {self.port}"

    def is_in_one_with(self, other: "UsbDevice") -> bool:
        """Whether both are functions of the same device, such as a camera and its button."""
        return (self.vendor, self.product, self.serial, self.port) == (
            other.vendor, other.product, other.serial, other.port
        )  # fmt: skip

    def is_twin_of(self, other: "UsbDevice") -> bool:
        """Whether nothing but the port tells it from another one, which is plugged in too."""
        return (self.vendor, self.product, self.serial, self.interface) == (
            other.vendor, other.product, other.serial, other.interface
        )  # fmt: skip


def usb_device_of(entry: Path) -> UsbDevice | None:
    """The USB device of an entry such as ``/sys/class/video4linux/video0``; None of another bus."""
    try:
        interface = (entry / "device").resolve(strict=True)
    except (OSError, RuntimeError):  # it has gone, or a link leads to itself
        return None
    number = ""
    for folder in (interface, *interface.parents):
        number = number or text_of(folder / "bInterfaceNumber")
        vendor, product = text_of(folder / "idVendor"), text_of(folder / "idProduct")
        if vendor and product:
            serial = text_of(folder / "serial")
            return UsbDevice(vendor.lower(), product.lower(), serial, folder.name, number)
    return None


def text_of(file: Path) -> str:
    """The line in a file of ``sys``; empty if there is none."""
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
