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
        # before the first login there is no size, and no screen before its driver is there
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
