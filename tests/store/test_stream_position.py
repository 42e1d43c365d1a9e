"""The lease of a stream is one session's, and a stream behind which somebody has begun is passed by."""

from store import db, stream_position

NAME, OTHER = "events:{0}", "events:{1}"


async def test_a_lease_is_one_sessions_until_its_transaction_ends(conn: db.Connection, pool: db.Pool) -> None:
    await stream_position.ensure(conn, [NAME, OTHER])
    async with pool.acquire() as other:
        async with other.transaction():
            assert await stream_position.lock(other, NAME) is not None

            assert await stream_position.lock(conn, NAME) is None
            assert await stream_position.lock(conn, OTHER) is not None
        assert await stream_position.lock(conn, NAME) is not None


async def test_who_has_begun_behind_a_stream_may_have_it_and_others_may_not(conn: db.Connection, pool: db.Pool) -> None:
    await stream_position.ensure(conn, [NAME, OTHER])
    async with pool.acquire() as other:
        async with other.transaction():
            await stream_position.begin_ahead(other, NAME)

            assert await stream_position.lock(conn, NAME) is None
            assert await stream_position.lock(conn, OTHER) is not None
            assert await stream_position.lock(other, NAME) is not None
        assert await stream_position.lock(conn, NAME) is not None
