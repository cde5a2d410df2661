"""`python -m benchmarks.avx2 COMMAND …`: runs a command as if this CPU had AVX2 and nothing newer.

Libraries ask the CPUID instruction whether AVX-512 and VNNI are there, and newer x86 CPUs can be told to raise a fault
for it (arch_prctl(2), ARCH_SET_CPUID). The command and all that it starts run under ptrace(2); each CPUID that they
execute is answered here, without those flags. Nothing else is slowed down: products run at the CPU's own speed, in the
kernels that a CPU without VNNI would choose. Linux on x86-64, where /proc/cpuinfo has `cpuid_fault`.
"""

import ctypes
import mmap
import os
import signal
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

# ptrace(2): requests, options, and the events that options ask for.
TRACEME, PEEKTEXT, POKETEXT, CONT, SINGLESTEP, GETREGS, SETREGS, SETOPTIONS = 0, 1, 4, 7, 9, 12, 13, 0x4200
TRACE_FORK, TRACE_VFORK, TRACE_CLONE, TRACE_EXEC, EXIT_KILL = 2, 4, 8, 16, 1 << 20
EXEC_EVENT = 4
# waitpid(2): threads too.
WALL = 0x40000000
# Places in the 27 words of struct user_regs_struct.
REGISTERS = struct.Struct("27Q")
RBX, RAX, RCX, RDX, RSI, RDI, RIP = 5, 10, 11, 12, 13, 14, 16
CPUID, SYSCALL = b"\x0f\xa2", b"\x0f\x05"
ARCH_PRCTL, ARCH_SET_CPUID = 158, 0x1012

# In the command's environment: the newest kind of CPU that it sees.
SEEN = "ANSWERMILL_CPU"

Words = tuple[int, int, int, int]
# (leaf, subleaf) -> bits of EAX, EBX, ECX, EDX that stand for AVX-512, VNNI in any form, AMX and AVX10.
NEWER: dict[tuple[int, int], Words] = {
    (7, 0): (
        0,
        sum(1 << bit for bit in (16, 17, 21, 26, 27, 28, 30, 31)),
        sum(1 << bit for bit in (1, 6, 11, 12, 14)),
        sum(1 << bit for bit in (2, 3, 8, 22, 23, 24, 25)),
    ),
    (7, 1): (sum(1 << bit for bit in (4, 5, 21, 23)), 0, 0, sum(1 << bit for bit in (4, 5, 8, 10, 19))),
    (13, 0): (sum(1 << bit for bit in (5, 6, 7, 17, 18)), 0, 0, 0),
}


def without_newer(leaf: int, subleaf: int, words: Words) -> Words:
    """What CPUID says, EAX to EDX, less what is newer than AVX2."""
    hidden = NEWER.get((leaf, subleaf), (0, 0, 0, 0))
    eax, ebx, ecx, edx = (word & ~bits for word, bits in zip(words, hidden, strict=True))
    return eax, ebx, ecx, edx


class Cpuid:
    """The CPUID instruction, for a process that may execute it."""

    # push rbx; mov eax, edi; mov ecx, esi; mov r8, rdx; cpuid; mov [r8], eax, ebx, ecx, edx; pop rbx; ret
    CODE = bytes.fromhex("53 89f8 89f1 4989d0 0fa2 418900 41895804 41894808 4189500c 5b c3")

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(self.CODE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        words = ctypes.POINTER(ctypes.c_uint32)
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, words)(address)

    def __call__(self, leaf: int, subleaf: int) -> Words:
        """EAX, EBX, ECX and EDX."""
        registers = (ctypes.c_uint32 * 4)()
        self._call(leaf, subleaf, registers)
        eax, ebx, ecx, edx = registers
        return eax, ebx, ecx, edx


class Tracer:
    """Lets one command and its descendants run, and answers their CPUIDs."""

    def __init__(self) -> None:
        self._ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        self._ptrace.restype = ctypes.c_long
        self._ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        self._cpuid = Cpuid()

    def run(self, command: Sequence[str]) -> int:
        """The command's exit code; 128 and the signal for one that a signal ended."""
        first = os.fork()
        if first == 0:
            self._ptrace(TRACEME, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            try:
                os.execvp(command[0], list(command))  # noqa: S606 - no shell is wanted
            except OSError as error:
                sys.stderr.write(f"{command[0]}: {error.strerror}\n")
                os._exit(127)
        os.waitpid(first, 0)
        self._request(SETOPTIONS, first, TRACE_FORK | TRACE_VFORK | TRACE_CLONE | TRACE_EXEC | EXIT_KILL)
        self._request(CONT, first)
        known = {first}
        while True:
            who, status = os.waitpid(-1, WALL)
            if not os.WIFSTOPPED(status):
                if who == first:
                    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
                continue
            number, event = os.WSTOPSIG(status), status >> 16
            if event == EXEC_EVENT:
                self._make_cpuid_fault(who)
            deliver = 0 if event or (who not in known and number == signal.SIGSTOP) else number
            known.add(who)
            if number == signal.SIGSEGV and self._answer_cpuid(who):
                deliver = 0
            self._request(CONT, who, deliver)

    def _make_cpuid_fault(self, who: int) -> None:
        """Makes a process that has just called exec ask for faults at CPUID again, because exec has cleared that."""
        before = self._registers(who)
        text = self._request(PEEKTEXT, who, 0, before[RIP])
        self._request(POKETEXT, who, (text & ~0xFFFF) | int.from_bytes(SYSCALL, "little"), before[RIP])
        call = list(before)
        call[RAX], call[RDI], call[RSI] = ARCH_PRCTL, ARCH_SET_CPUID, 0
        # The first step ends where exec itself does: its result is in RAX, and nothing has been executed yet.
        while (after := self._registers(who))[RIP] == before[RIP]:
            self._set_registers(who, call)
            self._request(SINGLESTEP, who)
            os.waitpid(who, WALL)
        self._request(POKETEXT, who, text, before[RIP])
        self._set_registers(who, before)
        if after[RAX]:
            raise SystemExit("benchmarks.avx2: this CPU or kernel cannot make CPUID fault")

    def _answer_cpuid(self, who: int) -> bool:
        """Answers the CPUID that raised a fault and steps over it. False if it was another fault."""
        registers = self._registers(who)
        if self._request(PEEKTEXT, who, 0, registers[RIP]) & 0xFFFF != int.from_bytes(CPUID, "little"):
            return False
        leaf, subleaf = registers[RAX] & 0xFFFFFFFF, registers[RCX] & 0xFFFFFFFF
        answer = without_newer(leaf, subleaf, self._cpuid(leaf, subleaf))
        registers[RAX], registers[RBX], registers[RCX], registers[RDX] = answer
        registers[RIP] += len(CPUID)
        self._set_registers(who, registers)
        return True

    def _registers(self, who: int) -> list[int]:
        buffer = ctypes.create_string_buffer(REGISTERS.size)
        self._request(GETREGS, who, ctypes.addressof(buffer))
        return list(REGISTERS.unpack(buffer.raw))

    def _set_registers(self, who: int, values: Sequence[int]) -> None:
        buffer = ctypes.create_string_buffer(REGISTERS.pack(*values), REGISTERS.size)
        self._request(SETREGS, who, ctypes.addressof(buffer))

    def _request(self, request: int, who: int, data: int = 0, address: int = 0) -> int:
        """One ptrace call. A process that was killed meanwhile is no error: the caller waits for its end."""
        ctypes.set_errno(0)
        result = int(self._ptrace(request, who, address, data)) & 0xFFFFFFFFFFFFFFFF
        if (code := ctypes.get_errno()) and code != 3:  # ESRCH
            raise OSError(code, f"ptrace: {os.strerror(code)}")
        return result


def main(argv: Sequence[str]) -> int:
    """Runs the command."""
    if not argv or argv[0] in ("-h", "--help"):
        sys.stderr.write("usage: python -m benchmarks.avx2 COMMAND …\n")
        return 2 if not argv else 0
    if " cpuid_fault" not in Path("/proc/cpuinfo").read_text():
        sys.stderr.write("benchmarks.avx2: this CPU cannot make CPUID fault (no cpuid_fault in /proc/cpuinfo)\n")
        return 1
    # /proc/cpuinfo still says what the CPU is; this says what programs see.
    os.environ[SEEN] = "avx2"
    return Tracer().run(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
