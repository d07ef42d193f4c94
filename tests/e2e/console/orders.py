"""The form by which a command is ordered, on whichever page it stands."""

from playwright.sync_api import Locator, expect

from agents.models.command import CommandKind
from tests.e2e.console.console import Console


class OrderForm:
    """Opened by its summary, or open already."""

    def __init__(self, console: Console, root: Locator | None = None) -> None:
        self._console = console
        self._root = root or console.page.locator("#send")

    def open(self) -> None:
        """One click, where it is not open."""
        if self._root.get_attribute("open") is None:
            self._console.click(self._root.locator("summary").first)

    def choose(self, kind: CommandKind) -> None:
        """One click on its button, or two in a list."""
        button = self._root.get_by_role("radio", name=self._console.words.label(kind.label), exact=True)
        if button.count():
            self._console.click(button)
        else:
            self._console.choose(self._field("Command"), kind.value)

    def choose_task(self, name: str) -> None:
        self._console.choose(self._field("Task"), name)

    def fill(self, label: str, text: str) -> None:
        """A field is clicked once and then written into."""
        field = self._field(label)
        self._console.click(field)
        field.fill(text)

    def _field(self, label: str) -> Locator:
        return self._root.get_by_label(self._console.words(label)).locator("visible=true").first

    def send(self) -> None:
        button = self._root.locator("[data-submit]")
        expect(button).to_be_enabled()
        if self._root.locator("form[hx-post]").count():
            # What becomes of it is shown in the place of the form.
            self._console.click(button)
        else:
            self._console.click_to_page(button)
