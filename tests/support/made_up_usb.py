"""A made-up `/sys` and `/dev`: USB cameras that are plugged in, unplugged, and plugged in anew."""

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usb:
    """The tree below a folder, as the kernel and udev lay it out."""

    root: Path

    def plug(
        self,
        number: int,
        *,
        port: str,
        serial: str = "",
        kind: str = "2ce3:9563",
        interface: int = 0,
        events: tuple[int, ...] = (),
    ) -> None:
        """Plug a camera in: pictures at ``number``, data about them at the next one.

        Args:
            number: of its first device file.
            port: as "1-2".
            serial: its number, if it has one.
            kind: of maker and product.
            interface: of the device.
            events: numbers of its input devices.
        """
        device = self.root / "sys/devices/usb1" / port
        part = device / f"{port}:1.{interface}"
        part.mkdir(parents=True)
        for name, text in zip(("idVendor", "idProduct"), kind.split(":"), strict=True):
            (device / name).write_text(f"{text}\n")
        if serial:
            (device / "serial").write_text(f"{serial}\n")
        (part / "bInterfaceNumber").write_text(f"{interface:02x}\n")
        for index in (0, 1):
            self._entry(part, "video4linux", f"video{number + index}", index)
            (self.root / f"dev/video{number + index}").touch()
        links = self.root / "dev/v4l"
        for folder, name in (("by-id", f"usb-Maker_{serial}"), ("by-path", f"pci-usb-{port}")):
            (links / folder).mkdir(parents=True, exist_ok=True)
            link = links / folder / f"{name}-{interface}-index0"
            link.unlink(missing_ok=True)  # of two that are alike one gets the link
            link.symlink_to(f"../../video{number}")
        for event in events:
            (part / f"input{event}").mkdir()
            self._entry(part / f"input{event}", "input", f"event{event}", 0)
            (self.root / "dev/input").mkdir(exist_ok=True)
            (self.root / f"dev/input/event{event}").touch()

    def unplug(self, port: str) -> None:
        """Take away what is at a port."""
        device = self.root / "sys/devices/usb1" / port
        for entry in (self.root / "sys/class").glob("*/*"):
            if device in entry.resolve().parents:
                entry.unlink()
                (self.root / "dev" / entry.name).unlink(missing_ok=True)
        shutil.rmtree(device)
        for link in (self.root / "dev/v4l").glob("*/*"):
            if not link.exists():
                link.unlink()

    def asked(self, device: Path) -> bool:
        """Whether a device file gives pictures: the first of each camera does."""
        entry = self.root / "sys/class/video4linux" / device.name
        return (entry / "index").read_text().strip() == "0"

    def _entry(self, part: Path, kind: str, name: str, index: int) -> None:
        entry = part / kind / name if kind == "video4linux" else part / name
        entry.mkdir(parents=True)
        (entry / "name").write_text("Handle\n")
        (entry / "index").write_text(f"{index}\n")
        (entry / "device").symlink_to(part)
        listed = self.root / "sys/class" / kind
        listed.mkdir(parents=True, exist_ok=True)
        (listed / name).symlink_to(entry)
        (self.root / "dev").mkdir(exist_ok=True)
