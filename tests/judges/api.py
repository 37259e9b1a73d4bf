"""The example that schemathesis reads the schema of."""

from typing import Annotated

from fastapi import FastAPI, HTTPException, Path
from pydantic import BaseModel, ConfigDict, Field

app = FastAPI(title="items", version="1")
ITEMS = {1: {"name": "one", "price": 1.0}}
Number = Annotated[int, Path(ge=1, le=1000)]


class Item(BaseModel):
    """A thing with a price."""

    model_config = ConfigDict(strict=True)

    name: str = Field(min_length=1, max_length=50)
    price: float = Field(ge=0, le=1e6, allow_inf_nan=False)


@app.get("/items/{number}", responses={404: {"description": "no such item"}})
async def item(number: Number) -> Item:
    """Return an item."""
    if number not in ITEMS:
        raise HTTPException(404, "no such item")
    return Item(**ITEMS[number])


@app.put("/stock/{number}", responses={400: {"description": "a body that is no JSON"}})
async def put(number: Number, given: Item) -> Item:
    """Keep an item."""
    ITEMS[number] = given.model_dump()
    return given


@app.get("/search")
async def search(name: Annotated[str, Field(max_length=50)] = "") -> list[Item]:
    """Return the items whose name holds this."""
    return [Item(**one) for one in ITEMS.values() if name in one["name"]]
