"""/products: the smallest resource."""

from tests.api import bodies
from tests.server import Server

NOWHERE = "00000000-0000-7000-8000-000000000007"


async def test_a_product_is_shown_with_every_field_of_the_reference(api: Server) -> None:
    made = await api.made("/products", bodies.product(label="UK"))

    assert made == {
        "id": made["id"],
        "name": "Platform",
        "label": "UK",
        "taxCategoryId": None,
        "createdAt": "2025-03-10T12:00:00Z",
        "updatedAt": "2025-03-10T12:00:00Z",
        "archivedAt": None,
    }
    assert (await api.get(f"/products/{made['id']}")).body == made


async def test_a_product_is_renamed(api: Server) -> None:
    made = await api.made("/products", bodies.product())
    api.clock.now = api.clock.now.replace(hour=13)

    changed = await api.put(f"/products/{made['id']}", {"name": "New"})

    assert changed.body == made | {"name": "New", "updatedAt": "2025-03-10T13:00:00Z"}


async def test_an_archived_product_is_not_listed_and_takes_no_prices(api: Server) -> None:
    made = await api.made("/products", bodies.product())

    archived = await api.post(f"/products/{made['id']}/archive")
    refused = await api.post("/prices", bodies.price(made["id"]))

    assert archived.body["archivedAt"] == "2025-03-10T12:00:00Z"
    assert (await api.get("/products")).body["items"] == []
    assert (refused.status, refused.codes, refused.keys) == (409, ["PRODUCT_ARCHIVED"], ["productId"])


async def test_products_are_found_by_name(api: Server) -> None:
    await api.made("/products", bodies.product(name="Tokens"))
    await api.made("/products", bodies.product(name="Seats"))

    reply = await api.get("/products?name=TOK")

    assert [item["name"] for item in reply.body["items"]] == ["Tokens"]


async def test_a_product_has_a_tax_category(api: Server) -> None:
    made = await api.made("/products", bodies.product(taxCategoryId=NOWHERE))

    renamed = await api.put(f"/products/{made['id']}", bodies.product(name="Other"))

    assert (made["taxCategoryId"], renamed.body["taxCategoryId"]) == (NOWHERE, None)


async def test_an_unknown_product_is_not_found(api: Server) -> None:
    assert (await api.get(f"/products/{NOWHERE}")).codes == ["NOT_FOUND"]
    assert (await api.put(f"/products/{NOWHERE}", {"name": "x"})).codes == ["NOT_FOUND"]
    assert (await api.post(f"/products/{NOWHERE}/archive")).codes == ["NOT_FOUND"]
