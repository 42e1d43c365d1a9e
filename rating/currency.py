"""Currencies: how many decimals their minor unit has, after ISO 4217 (not CLDR, which differs for a dozen).

`digits("JPY") == 0`, `digits("EUR") == 2`, `digits("KWD") == 3`. Precious metals, test codes and baskets without a
minor unit are no currencies to bill in. The table is compared with an independent list in the tests.
"""

from collections.abc import Mapping
from types import MappingProxyType

from rating.error import UnknownCurrency

_CODES = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY
        COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS
        INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR
        MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP
        STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
        BGN
    """,  # BGN ended with 2025; the reference still lists it, and contracts of that time must stay readable.
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
MINOR_DIGITS: Mapping[str, int] = MappingProxyType(
    {code: digits for digits, codes in _CODES.items() for code in codes.split()}
)


def digits(currency: str) -> int:
    """Decimals of the currency's minor unit."""
    try:
        return MINOR_DIGITS[currency]
    except KeyError:
        raise unknown(currency) from None


def unknown(currency: str) -> UnknownCurrency:
    """The refusal of a code, for whoever keeps a table of his own."""
    return UnknownCurrency(f"{currency!r} is no currency of ISO 4217 with a minor unit", key="currency")
