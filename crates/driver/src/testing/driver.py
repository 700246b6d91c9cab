"""The test driver's Python side: what a NixOS test script may use, over a socket to the program that runs the machines.

A request is a line of JSON with a number; its answer is a line with the same number, and the bytes that the line announces. Any
thread may ask.
"""
import base64, json, os, pathlib, re, shlex, socket, sys, threading, time, traceback, types, unittest
from contextlib import contextmanager, nullcontext

DEFAULT_TIMEOUT = 900


class MachineError(Exception):
    """A machine did not do what it was asked to."""


class RequestedAssertionFailed(AssertionError):
    """What the script demanded was not so."""


class Bridge:
    def __init__(self, fd):
        self.socket = socket.socket(fileno=fd)
        self.lock = threading.Lock()
        self.waiting = {}
        self.next = 0
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        with self.socket.makefile("rb") as lines:
            for line in lines:
                answer = json.loads(line)
                answer["blobs"] = [lines.read(length) for length in answer.get("blobs", ())]
                with self.lock:
                    slot = self.waiting.pop(answer["id"], None)
                if slot:
                    slot[1] = answer
                    slot[0].set()
        with self.lock:
            for slot in self.waiting.values():
                slot[0].set()

    def ask(self, op, **arguments):
        return self.ask_for_bytes(op, **arguments)[0]

    def ask_for_bytes(self, op, **arguments):
        slot = [threading.Event(), None]
        with self.lock:
            self.next += 1
            number = self.next
            self.waiting[number] = slot
            self.socket.sendall(json.dumps({"id": number, "op": op, **arguments}).encode() + b"\n")
        slot[0].wait()
        answer = slot[1]
        if answer is None:
            raise MachineError("the driver has ended")
        if "error" in answer:
            raise MachineError(answer["error"])
        return answer.get("ok"), answer["blobs"]


def seconds(value, default=DEFAULT_TIMEOUT):
    """A limit in seconds: a number, a timedelta, or nothing."""
    if value is None:
        return default
    return value.total_seconds() if hasattr(value, "total_seconds") else float(value)


class Logger:
    def __init__(self):
        self.depth = 0

    def print_serial_logs(self, enable):
        bridge.ask("serial", on=bool(enable))

    def log(self, message, *args, **kwargs):
        sys.stdout.write("  " * self.depth + str(message) + "\n")
        sys.stdout.flush()

    info = warning = error = debug = log_serial = log

    @contextmanager
    def nested(self, message, attributes=None):
        self.log(message)
        start = time.monotonic()
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
            self.log(f"(finished: {message}, in {time.monotonic() - start:.2f} seconds)")

    @contextmanager
    def subtest(self, name):
        start = time.monotonic()
        with self.nested(f"subtest: {name}"):
            try:
                yield
            except BaseException as error:
                bridge.ask("subtest", name=name, seconds=time.monotonic() - start, failure=str(error) or type(error).__name__)
                raise
        bridge.ask("subtest", name=name, seconds=time.monotonic() - start, failure=None)


def retry(fn, timeout_seconds=None, timeout=DEFAULT_TIMEOUT, *, pause=1):
    """Calls fn(last) every second until it is true; the call after the limit has last = True."""
    end = time.monotonic() + seconds(timeout_seconds if timeout_seconds is not None else timeout)
    while time.monotonic() < end:
        if fn(False):
            return
        time.sleep(min(pause, max(0, end - time.monotonic())))
        pause = min(1, pause * 2)
    if not fn(True):
        raise RequestedAssertionFailed("action timed out")


class BaseMachine(ScreenMethods, PowerMethods):
    """One machine."""

    def __init__(self, name, out_dir, state_dir):
        self.name, self.out_dir = name, pathlib.Path(out_dir)
        self.state_dir = pathlib.Path(state_dir) / name
        self.shared_dir = pathlib.Path(state_dir) / "shared"
        self.tmp_dir = self.state_dir.parent
        self.logger = log
        self.keep_machine_state = setup["keep"]
        self.callbacks = []
        self._console_seen, self._qmp = 0, None

    def __repr__(self):
        return f"<machine {self.name}>"

    def _ask(self, op, **arguments):
        return bridge.ask(op, machine=self.name, **arguments)

    # life

    @property
    def booted(self):
        return self._ask("view")["running"]

    @property
    def connected(self):
        return self._ask("view")["connected"]

    @property
    def pid(self):
        return self._ask("view")["pid"]

    @property
    def process(self):
        """The process of a machine that runs, as far as scripts look at it; else None."""
        return types.SimpleNamespace(pid=pid, poll=lambda: None if self.pid == pid else 0) if (pid := self.pid) else None

    def is_up(self):
        view = self._ask("view")
        return view["running"] and view["connected"]

    def start(self, allow_reboot=False):
        if self._ask("view")["running"]:
            return
        self.log("starting")
        self._ask("start", reboots=allow_reboot)

    def connect(self):
        self.start()
        self._ask("connect", timeout=DEFAULT_TIMEOUT)

    def shutdown(self):
        if self.booted:
            self._ask("stop")
            self.wait_for_shutdown()

    def wait_for_shutdown(self, timeout=None):
        with self.nested("waiting for power off"):
            self._ask("wait-off", timeout=seconds(timeout, None))

    def crash(self):
        self.log("forced crash")
        self._ask("crash")

    release = crash

    def reboot(self):
        with self.nested("reboot"):
            self._ask("reboot")

    # programs

    def run_callbacks(self):
        if not getattr(guard, "busy", False):
            guard.busy = True
            try:
                for condition in list(conditions):
                    condition.maybe_raise()
                for callback in list(self.callbacks):
                    callback()
            finally:
                guard.busy = False

    def execute(self, command, check_return=True, check_output=True, timeout=DEFAULT_TIMEOUT):
        self.run_callbacks()
        limit = None if timeout is None else seconds(timeout)
        answer, blobs = bridge.ask_for_bytes("exec", machine=self.name, command=command, timeout=limit, wait=bool(check_output))
        if not check_output:
            return (-2, "")
        output, self._last_errors = (blob.decode(errors="replace") for blob in blobs)
        for line in self._last_errors.splitlines():
            self.log(line)
        return (answer["status"] if check_return else -1, output)

    def _wait(self, message, timeout, kind, **wanted):
        """Waits for something that the driver knows how to look at; the output of the last look."""
        self.connect()
        output = ""
        end = time.monotonic() + seconds(timeout)

        def look(last):
            nonlocal output
            self.run_callbacks()
            answer, blobs = bridge.ask_for_bytes("look", machine=self.name, wanted={"kind": kind, **wanted}, last=last,
                                                 timeout=max(0, end - time.monotonic()))
            output = blobs[0].decode(errors="replace")
            return answer["is_so"]

        with self.nested(message):
            retry(look, timeout=timeout, pause=0.1)
        return output

    def _report(self, command, status, output):
        text = f"command `{command}` failed (exit code {status}) on {self.name}"
        if status == 124:
            text += " (124: it may have run out of time)"
        if output.strip():
            text += f"\n  output:\n" + "\n".join("    " + line for line in output.strip().splitlines()[-40:])
        errors = getattr(self, "_last_errors", "")
        if errors.strip():
            text += f"\n  standard error:\n" + "\n".join("    " + line for line in errors.strip().splitlines()[-40:])
        return text

    def succeed(self, *commands, timeout=None):
        output = ""
        for command in commands:
            with self.nested(f"must succeed: {command}"):
                status, out = self.execute(command, timeout=DEFAULT_TIMEOUT if timeout is None else timeout)
                if status != 0:
                    raise RequestedAssertionFailed(self._report(command, status, out))
                output += out
        return output

    def fail(self, *commands, timeout=None):
        output = ""
        for command in commands:
            with self.nested(f"must fail: {command}"):
                status, out = self.execute(command, timeout=DEFAULT_TIMEOUT if timeout is None else timeout)
                if status == 0:
                    raise RequestedAssertionFailed(f"command `{command}` unexpectedly succeeded on {self.name}")
                output += out
        return output

    def wait_until_succeeds(self, command, timeout=DEFAULT_TIMEOUT):
        return self._wait(f"waiting for success: {command}", timeout, "succeeds", command=command)

    def wait_until_fails(self, command, timeout=DEFAULT_TIMEOUT):
        return self._wait(f"waiting for failure: {command}", timeout, "fails", command=command)

    def sleep(self, secs=None, duration=None):
        self.succeed(f"sleep {seconds(secs if secs is not None else duration, 0)}")

    # units

    def systemctl(self, q, user=None):
        if user is not None:
            q = q.replace("'", "\\'")
            return self.execute(f"su -l {user} --shell /bin/sh -c $'XDG_RUNTIME_DIR=/run/user/`id -u` systemctl --user {q}'")
        return self.execute(f"systemctl {q}")

    def get_unit_info(self, unit, user=None):
        status, lines = self.systemctl(f'--no-pager show "{unit}"', user)
        if status != 0:
            raise RequestedAssertionFailed(f'retrieving systemctl info for unit "{unit}" failed with exit code {status}')
        return dict(line.split("=", 1) for line in lines.splitlines() if "=" in line)

    def get_unit_property(self, unit, property, user=None):
        status, lines = self.systemctl(f'--no-pager show "{unit}" --property="{property}"', user)
        if status != 0 or "=" not in lines:
            raise RequestedAssertionFailed(f'retrieving property "{property}" of unit "{unit}" failed with exit code {status}')
        return lines.split("=", 1)[1].rstrip("\n")

    def require_unit_state(self, unit, require_state="active"):
        state = self.get_unit_property(unit, "ActiveState")
        if state != require_state:
            raise RequestedAssertionFailed(f'unit "{unit}" of {self.name} should be {require_state}, but it is {state}')

    def wait_for_unit(self, unit, user=None, timeout=DEFAULT_TIMEOUT):
        self._wait(f"waiting for unit {unit}" + (f" with user {user}" if user else ""), timeout, "unit", unit=unit, user=user, state="active")

    def start_job(self, jobname, user=None):
        return self.systemctl(f"start {jobname}", user)

    def stop_job(self, jobname, user=None):
        return self.systemctl(f"stop {jobname}", user)

    # files and ports

    def wait_for_file(self, filename, timeout=DEFAULT_TIMEOUT):
        self._wait(f"waiting for file '{filename}'", timeout, "file", path=str(filename), present=True)

    def wait_for_open_port(self, port, addr="localhost", timeout=DEFAULT_TIMEOUT):
        self._wait(f"waiting for TCP port {port} on {addr}", timeout, "port", port=int(port), host=addr, open=True)

    def wait_for_closed_port(self, port, addr="localhost", timeout=DEFAULT_TIMEOUT):
        self._wait(f"waiting for TCP port {port} on {addr} to be closed", timeout, "port", port=int(port), host=addr, open=False)

    def wait_for_open_unix_socket(self, addr, is_datagram=False, timeout=DEFAULT_TIMEOUT):
        self._wait(f"waiting for the socket {addr}", timeout, "socket", path=str(addr), datagram=bool(is_datagram))

    def copy_from_host(self, source, target):
        self.run_callbacks()
        with self.nested(f"copying {source} to {target}"):
            self._ask("copy-to", source=str(pathlib.Path(source).absolute()), target=str(target))

    copy_from_host_via_shell = copy_from_host

    def copy_from_machine(self, source, target_dir=""):
        self.run_callbacks()
        with self.nested(f"copying {source} from the machine"):
            self._ask("copy-from", source=str(source), folder=str((self.out_dir / target_dir).absolute()))

    copy_from_vm = copy_from_machine

    # cables

    def link(self, interface=None, **changes):
        """Faults of the machine's links (all, or one interface): delay=, jitter= (seconds, or "50ms"), loss=, duplicate=, reorder=,
        corrupt= (0 to 1, or "1%"), rate= (bits per second, or "10mbit"), queue=, mtu=, cut=, seed=; incoming= and outgoing= take a
        dictionary of these for one direction; reset=True ends what was set before."""
        change_link(self.name, None, interface, changes)

    def links(self):
        """The machine's links with their counters and faults, as in `status --json`."""
        return self._ask("links")

    def capture(self, path=None):
        """Captures the machine's frames to a file (pcapng) in the output folder, until stop() or the end of a `with`."""
        return Capture(path or f"{self.name}.pcapng", machine=self.name)

    def block(self):
        self._ask("link", up=False)

    def unblock(self):
        self._ask("link", up=True)

    def forward_port(self, host_port=8080, guest_port=80):
        self._ask("forward", host=host_port, guest=guest_port)

    # log

    def log(self, message):
        log.log(f"{self.name}: {message}")

    log_serial = log

    def nested(self, message, attrs=None):
        return log.nested(f"{self.name}: {message}", attrs)

    def cleanup_statedir(self):
        """The state folder goes with the network, unless it is kept."""

    def ssh_backdoor_command(self, *_):
        return f"{setup['program']} ssh --state-dir {self.state_dir.parent} {self.name}"


QemuMachine = BaseMachine


class NspawnMachine(BaseMachine):
    pass


class PollingCondition:
    def __init__(self, fun, interval, description):
        self.fun, self.interval, self.description = fun, interval, description or fun.__doc__ or fun.__name__
        self.last = None

    def check(self):
        try:
            result = self.fun()
        except Exception:
            return False
        return result is None or bool(result)

    def maybe_raise(self):
        if self.last is not None and time.monotonic() - self.last < self.interval:
            return
        self.last = time.monotonic()
        if not self.check():
            raise RequestedAssertionFailed(f"polling condition failed: {self.description}")

    def wait(self, timeout=DEFAULT_TIMEOUT):
        retry(lambda last: self.check(), timeout=timeout)

    def __enter__(self):
        conditions.append(self)

    def __exit__(self, *_):
        conditions.remove(self)


def polling_condition(fun=None, *, interval=2.0, seconds_interval=None, description=None):
    every = seconds(seconds_interval if seconds_interval is not None else interval)
    make = lambda f: PollingCondition(f, every, description)
    return make(fun) if fun is not None else make


class Capture:
    """Frames on their way into a file."""

    def __init__(self, path, machine=None, segment=None):
        self.path = pathlib.Path(setup["outDir"]) / path
        self.number = bridge.ask("capture", path=str(self.path), machine=machine, segment=segment)

    def stop(self):
        """Ends it; then the file is complete."""
        if self.number is not None:
            bridge.ask("end-capture", capture=self.number)
            self.number = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def change_link(machine, segment, interface, changes):
    def ask(direction, values, reset=False, seed=None):
        values = dict(values)
        cut = values.pop("cut", None)
        texts = []
        for name, value in values.items():
            if name in ("delay", "jitter") and not isinstance(value, str):
                value = f"{round(seconds(value) * 1e6)}us"
            texts.append((name, str(value)))
        change = {"interface": interface, "direction": direction, "reset": reset, "cut": cut, "seed": seed, "values": texts}
        bridge.ask("set-link", machine=machine, segment=segment, change=change)

    incoming, outgoing = changes.pop("incoming", None), changes.pop("outgoing", None)
    reset, seed = changes.pop("reset", False), changes.pop("seed", None)
    if reset:
        changes.setdefault("cut", False)
    if changes or seed is not None:
        ask("both", changes, reset, seed)
    for direction, values in (("in", incoming), ("out", outgoing)):
        if values:
            ask(direction, values)


def partition(*groups):
    """Lets nothing pass between machines of different groups: partition([a, b], [c])."""
    if len(groups) < 2:
        raise ValueError("a partition needs two groups or more; heal() ends it")
    bridge.ask("partition", groups=[[getattr(machine, "name", machine) for machine in group] for group in groups])


def heal():
    """Ends the partition."""
    bridge.ask("partition", groups=[])


def start_all():
    errors = []

    def start(machine):
        try:
            machine.start()
        except Exception as error:
            errors.append(error)

    with log.nested("start all machines"):
        threads = [threading.Thread(target=start, args=(machine,)) for machine in machines]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    if errors:
        raise MachineError("; ".join(map(str, errors)))


def create_machine(start_command, *, name=None, keep_machine_state=False):
    raise MachineError("machines are made by the configuration: add one to `nodes`, and start() it when it is wanted")


def join_all():
    with log.nested("wait for all machines to power off"):
        bridge.ask("no-limit")
        for machine in machines:
            machine.wait_for_shutdown()


def fail(error, script):
    """Tells the driver where the script failed and why; ends."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == SCRIPT_NAME]
    lines = script.splitlines()
    if isinstance(error, SyntaxError) and error.filename == SCRIPT_NAME:
        place = [(error.lineno or 1, (error.text or "").strip())]
    else:
        place = [(frame.lineno, lines[frame.lineno - 1].strip() if frame.lineno <= len(lines) else "") for frame in own]
    kind = "" if isinstance(error, (RequestedAssertionFailed, MachineError)) else f"{type(error).__name__}: "
    bridge.ask("failed", place=place, message=f"{kind}{error}" if str(error) else type(error).__name__)


SCRIPT_NAME = "testScript"
bridge = Bridge(int(sys.argv[1]))
log = Logger()
guard = threading.local()
conditions = []
setup = bridge.ask("setup")
machines = [BaseMachine(name, setup["outDir"], setup["stateDir"]) for name in setup["machines"]]
machines_qemu, machines_nspawn = machines, []
script = setup["script"]


class Vlan:
    """A segment."""

    def __init__(self, nr):
        self.nr = nr

    def link(self, **changes):
        """Faults of all links of the segment, as of a machine's."""
        change_link(None, self.nr, None, changes)

    def capture(self, path=None):
        """Captures what enters the segment, as of a machine."""
        return Capture(path or f"vlan{self.nr}.pcapng", segment=self.nr)


vlans = [Vlan(nr) for nr in setup["segments"]]


class TestCase(unittest.TestCase):
    longMessage = True

    def runTest(self):
        pass


def prompt(scope, names):
    """A Python prompt with completion, and a history that lasts."""
    import code
    history = pathlib.Path(".nixos-test-history")
    try:
        import readline, rlcompleter
        readline.set_completer(rlcompleter.Completer(scope).complete)
        readline.parse_and_bind("tab: complete")
        if history.exists():
            readline.read_history_file(history)
    except (ImportError, OSError):
        readline = None
    try:
        code.interact(banner="start_all(), test_script(), and the machines: " + ", ".join(names), local=scope, exitmsg="")
    finally:
        if readline:
            try:
                readline.set_history_length(1000)
                readline.write_history_file(history)
            except OSError as error:
                log.warning(f"the history is not kept: {error}")


def run():
    names = {re.sub(r"^[^A-Za-z_]|[^A-Za-z0-9_]", "_", machine.name): machine for machine in machines}
    if len(machines) == 1:
        names.setdefault("machine", machines[0])
    scope = {
        **names, **{f"vlan{vlan.nr}": vlan for vlan in vlans},
        "machines": machines, "machines_qemu": machines, "machines_nspawn": [], "vlans": vlans, "start_all": start_all, "join_all": join_all,
        "create_machine": create_machine,
        "partition": partition, "heal": heal, "subtest": log.subtest, "polling_condition": polling_condition, "retry": retry, "t": TestCase(), "log": log, "os": os,
        "serial_stdout_on": lambda: bridge.ask("serial", on=True), "serial_stdout_off": lambda: bridge.ask("serial", on=False),
        "dump_machine_ssh": lambda: [log.log(machine.ssh_backdoor_command()) for machine in machines],
        "BaseMachine": BaseMachine, "QemuMachine": QemuMachine, "NspawnMachine": NspawnMachine, "Machine": BaseMachine,
        "debug": types.SimpleNamespace(breakpoint=lambda *a: None),
        "__name__": "__main__",
    }
    scope["test_script"] = lambda: exec(compile(script, SCRIPT_NAME, "exec"), scope) if script is not None else bridge.ask("steps")
    scope["run_tests"] = scope["test_script"]
    scope["driver"] = types.SimpleNamespace(machines=machines, machines_qemu=machines, machines_nspawn=[], logger=log, vlans=vlans,
                                            out_dir=pathlib.Path(setup["outDir"]), polling_conditions=conditions, tests=script,
                                            **{name: scope[name] for name in ("start_all", "join_all", "test_script", "run_tests", "subtest",
                                                                              "polling_condition", "create_machine")})
    if setup["interactive"]:
        prompt(scope, names)
        return
    with log.nested("run the VM test script"):
        scope["test_script"]()


try:
    run()
except SystemExit as error:
    if error.code not in (None, 0):
        fail(error, script)
except BaseException as error:
    fail(error, script)
bridge.ask("done")
sys.stdout.flush()
os._exit(0)
