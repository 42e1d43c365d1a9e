"""The table of minor units agrees with an independent list of ISO 4217."""

import iso4217
import pytest

from rating import currency
from rating.error import UnknownCurrency

# The currencies that the reference supports.
REFERENCE = (
    "AED ARS AUD BRL BGN CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD ILS INR ISK JPY KRW MXN NOK NZD PLN SAR SEK SGD "
    "THB USD UYU ZAR"
)


def test_minor_digits_are_those_of_iso_4217():
    listed = {item.code: item.exponent for item in iso4217.Currency if item.exponent is not None}

    # The lev ended with 2025 and left the list.
    assert dict(currency.MINOR_DIGITS) == {**listed, "BGN": 2}


@pytest.mark.parametrize("code", REFERENCE.split())
def test_every_currency_of_the_reference_is_known(code):
    assert currency.digits(code) in {0, 2}


@pytest.mark.parametrize(("code", "digits"), [("JPY", 0), ("USD", 2), ("KWD", 3), ("IQD", 3), ("CLF", 4)])
def test_digits(code, digits):
    assert currency.digits(code) == digits


@pytest.mark.parametrize("code", ["", "usd", "XAU", "XXX", "EURO", "US$"])
def test_what_is_no_currency_is_refused_by_name(code):
    with pytest.raises(UnknownCurrency, match="no currency of ISO 4217") as refused:
        currency.digits(code)

    assert repr(code) in str(refused.value)
