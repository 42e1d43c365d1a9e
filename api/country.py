"""Countries and the states of two of them, as the reference lists them.

ISO 3166-1 alpha-2 and XK; the states are those of the US and Canada, whose taxes need one.
"""

from api import error

_COUNTRIES = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY
    BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK
    FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR
    IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK
    ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM
    PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF
    TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""
_STATES_US = """
    AK AL AR AZ CA CO CT DC DE FL GA HI IA ID IL IN KS KY LA MA MD ME MI MN MO MS MT NC ND NE NH NJ NM NV NY OH
    OK OR PA RI SC SD TN TX UT VA VT WA WI WV WY
"""
_STATES_CA = "AB BC MB NB NL NS NT NU ON PE QC SK YT"

CODES = frozenset(_COUNTRIES.split())
STATES = {"US": frozenset(_STATES_US.split()), "CA": frozenset(_STATES_CA.split())}


def check(code: str, *, key: str) -> None:
    """Refuse what is not a country."""
    if code not in CODES:
        raise error.InvalidValue(f"`{code}` is not a country. Send its two letters of ISO 3166-1, such as GB.", key=key)


def check_state(state: str | None, *, of: str, key: str) -> None:
    """Refuse a state that is not one, or is missing where taxes need it."""
    states = STATES.get(of)
    if states is None:
        # Elsewhere a state is part of the address and nothing more.
        return
    if state is None:
        raise error.MissingField(f"An address in {of} needs a state. Send its two letters.", key=key)
    if state not in states:
        raise error.InvalidValue(f"`{state}` is not a state of {of}. Send its two letters.", key=key)
