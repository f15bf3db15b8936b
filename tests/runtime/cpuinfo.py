"""What /proc/cpuinfo says of an x86 processor; the fixture `cpuinfo` stands for that file."""

X86 = "processor\t: 0\nmodel name\t: Fast One\ncpu family\t: 6\nmodel\t\t: 143\nflags\t\t: {}\n\n"
