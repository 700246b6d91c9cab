# What a test script may do with a machine's screen, keyboard, mouse and power. Part of driver.py, before it.

KEYS = {" ": "spc", "\n": "ret", "\t": "tab", "-": "minus", "=": "equal", "[": "bracket_left", "]": "bracket_right", ";": "semicolon",
        "'": "apostrophe", "`": "grave_accent", "\\": "backslash", ",": "comma", ".": "dot", "/": "slash"}
SHIFTED = dict(zip('!@#$%^&*()_+{}:"~|<>?', ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0", "minus", "equal", "bracket_left", "bracket_right",
                                             "semicolon", "apostrophe", "grave_accent", "backslash", "comma", "dot", "slash"]))


def key_of(char):
    if char in SHIFTED:
        return "shift-" + SHIFTED[char]
    if char.isascii() and char.isupper():
        return "shift-" + char.lower()
    return KEYS.get(char, char)


class ScreenMethods:
    """The part of a machine that has to do with its screen."""

    # text consoles

    def get_tty_text(self, tty):
        return self.execute(f"fold -w$(stty -F /dev/tty{tty} size | awk '{{print $2}}') /dev/vcs{tty}")[1]

    def wait_until_tty_matches(self, tty, regexp, timeout=900):
        pattern = re.compile(regexp)

        def check(last):
            text = self.get_tty_text(tty)
            if last and not pattern.search(text):
                raise RequestedAssertionFailed(f"tty {tty} of {self.name} does not match /{regexp}/; it shows:\n{text.strip()}")
            return pattern.search(text) is not None

        with self.nested(f"waiting for {regexp} to appear on tty {tty}"):
            retry(check, timeout=timeout)

    def dump_tty_contents(self, tty):
        self.execute(f"fold -w 80 /dev/vcs{tty} | systemd-cat")

    # keyboard and mouse

    def send_key(self, key, delay=0.01, log=True):
        with self.nested(f"sending key {key!r}") if log else nullcontext():
            self._ask("keys", keys=[KEYS.get(part, part) for part in KEYS.get(key, key).split("-")])
            time.sleep(0 if delay is None else seconds(delay, 0.01))

    def send_chars(self, chars, delay=0.01):
        with self.nested(f"sending keys {chars!r}"):
            for char in chars:
                self.send_key(key_of(char), delay, log=False)

    def _mouse(self, **what):
        # the drivers are in the machine once a mouse is used
        if getattr(self, "_has_mouse", None) != self._ask("view")["starts"]:
            self.succeed("modprobe -a virtio_input evdev")
            self._has_mouse = self._ask("view")["starts"]
        self._ask("mouse", **what)

    def mouse_move(self, x, y):
        """Moves the mouse to a place; each coordinate is a part of the screen, 0 to 1."""
        self._mouse(x=float(x), y=float(y))

    def mouse_button(self, button="left", down=True):
        """Presses a button or lets go of it."""
        self._mouse(button=button, down=bool(down))

    def mouse_click(self, button="left"):
        self.mouse_button(button, True)
        self.mouse_button(button, False)

    # pictures and the text on them

    def screenshot(self, filename):
        path = pathlib.Path(filename if "." in filename else f"{filename}.png")
        path = path if path.is_absolute() else self.out_dir / path
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.nested(f"making screenshot {path}"):
            path.write_bytes(base64.b64decode(self._ask("screenshot")))

    def get_screen_text_variants(self):
        """The text on the screen, as several ways to read it have it."""
        return self._ask("screen-text", one=False)

    def get_screen_text(self):
        """The text on the screen, in the way to read it that is mostly best."""
        return self._ask("screen-text", one=True)[0]

    def wait_for_text(self, regex, timeout=900):
        pattern = re.compile(regex)

        def check(last):
            variants = self.get_screen_text_variants()
            if any(pattern.search(text) for text in variants):
                return True
            if last:
                raise RequestedAssertionFailed(f"the text on the screen of {self.name} does not match /{regex}/; it was read as:\n" + "\n--\n".join(map(str.strip, variants)))
            return False

        with self.nested(f"waiting for {regex} to appear on screen"):
            retry(check, timeout=timeout)

    # windows

    def wait_for_x(self, timeout=900):
        with self.nested("waiting for the X11 server"):
            retry(lambda last: self.execute("test -e /tmp/.X11-unix/X0")[0] == 0, timeout=timeout)

    def get_window_names(self):
        return self.succeed(r"""xwininfo -root -tree | sed 's/.*0x[0-9a-f]* "\([^"]*\)".*/\1/; t; d'""").splitlines()

    def wait_for_window(self, regexp, timeout=900):
        pattern = re.compile(regexp)

        def check(last):
            names = self.get_window_names()
            if last and not any(pattern.search(name) for name in names):
                raise RequestedAssertionFailed(f"no window of {self.name} matches /{regexp}/; there are: " + ", ".join(names))
            return any(pattern.search(name) for name in names)

        with self.nested(f"waiting for a window {regexp}"):
            retry(check, timeout=timeout)


class QmpClient:
    """QEMU's monitor for programs."""

    def __init__(self, machine):
        self.machine = machine
        self.next, self.start = 0, None

    def send(self, cmd, args=None):
        return {"return": self.machine._ask("qmp", command=cmd, arguments=args or None)}

    def event(self, timeout):
        """The next event that was not asked for yet; None when none came in time. Each start has its own."""
        starts = self.machine._ask("view")["starts"]
        if self.start != starts:
            self.next, self.start = 0, starts
        answer = self.machine._ask("qmp-event", after=self.next, timeout=timeout)
        if answer is not None:
            self.next = answer["next"]
            return answer["event"]


class PowerMethods:
    """The part of a machine that has to do with QEMU itself: its monitor, power, serial console."""

    def send_monitor_command(self, command):
        return self._ask("monitor", command=command)

    def wait_for_monitor_prompt(self):
        return self.send_monitor_command("info status") and ""

    @property
    def qmp_client(self):
        if self._qmp is None:
            self._qmp = QmpClient(self)
        return self._qmp

    def wait_for_qmp_event(self, event_filter, timeout=600):
        end = time.monotonic() + seconds(timeout)
        while (event := self.qmp_client.event(max(0, end - time.monotonic()))) is not None:
            if event_filter(event):
                return event
        raise RequestedAssertionFailed(f"{self.name}: QEMU did not report the event that was waited for, in {seconds(timeout):g} s or before it ended")

    def power_button(self):
        """Presses the power button; what the machine does then is its login manager's or acpid's matter."""
        self.send_monitor_command("system_powerdown")

    def suspend(self, timeout=120):
        """Suspends the machine to memory, and waits until it sleeps."""
        self.qmp_client.next = self._ask("qmp-event", after=None, timeout=0)["next"]
        self.qmp_client.start = self._ask("view")["starts"]
        with self.nested("suspending"):
            self.execute("sync; (sleep 0.2; echo mem > /sys/power/state) > /dev/null 2>&1 &")
            self.wait_for_qmp_event(lambda event: event["event"] == "SUSPEND", timeout)

    def resume(self):
        """Wakes a machine that sleeps."""
        with self.nested("waking"):
            self._ask("qmp", command="system_wakeup", arguments=None)
            self.execute("true")

    # serial console

    def get_console_log(self):
        return self._ask("console")

    full_console_log = property(get_console_log)

    def wait_for_console_text(self, regex, timeout=None):
        """Waits for a text among what the machine wrote and no earlier call has found."""
        pattern = re.compile(regex)

        def check(last):
            log = self.get_console_log()
            found = pattern.search(log, self._console_seen)
            if found:
                self._console_seen = len(log) if (end := log.find("\n", found.end())) < 0 else end + 1
            elif last:
                raise RequestedAssertionFailed(f"the console of {self.name} does not show /{regex}/; its last lines are:\n" + "\n".join(log.splitlines()[-20:]))
            return found is not None

        with self.nested(f"waiting for {regex} to appear on the console"):
            retry(check, timeout=1e9 if timeout is None else timeout)

    def send_console(self, chars):
        self._ask("send-console", text=chars)

    def console_interact(self):
        """Joins the terminal to the serial console: Ctrl-D returns, Ctrl-C ends the machine."""
        log.log("Ctrl-D returns to the prompt, Ctrl-C ends the machine")
        is_over = threading.Event()

        def show():
            seen = len(self.get_console_log())
            while not is_over.wait(0.2):
                text = self.get_console_log()
                sys.stdout.write(text[seen:])
                sys.stdout.flush()
                seen = len(text)

        thread = threading.Thread(target=show, daemon=True)
        thread.start()
        try:
            while line := sys.stdin.readline():
                self.send_console(line)
        except KeyboardInterrupt:
            self.crash()
        finally:
            is_over.set()
            thread.join()

    def shell_interact(self, address=None):
        """A shell of root in the machine, on the terminal."""
        if address is not None:
            raise MachineError("shell_interact: the shell is on this terminal; an address is not supported")
        self.connect()
        import subprocess
        subprocess.call([setup["program"], "shell", "--state-dir", str(self.state_dir.parent), self.name])

    # what machines that boot without firmware do not have

    def _no_firmware(self, *_, **__):
        raise MachineError(f"{self.name} boots without UEFI firmware: it has no EFI variables")

    create_efi_vars = read_efi_vars = write_efi_vars = dump_efi_vars = _no_firmware
    efi_vars = None

    def switch_root(self):
        raise MachineError(f"{self.name} has no shell in its initrd (boot.initrd.systemd is not used): there is nothing to switch from")
