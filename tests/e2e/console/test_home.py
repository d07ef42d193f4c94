"""What is wrong is seen on the home page without a click."""

from tests.e2e.console.console import Console
from tests.e2e.console.shop import Shop


def test_home_tells_what_is_wrong_without_a_click(console: Console, shop: Shop) -> None:
    with console.within(clicks=0):
        console.open()

        console.sees("orders-3")
        console.sees("charge_card")
    console.check("home")
