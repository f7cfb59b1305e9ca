"""A program of a user of PostgresML's client: chats in all four ways and prints what it got as JSON.

Runs with the interpreter of the client: outside_client.py PACKAGE URL MODEL
"""

import asyncio
import importlib
import json
import sys

package, url, model = sys.argv[1:]
client = importlib.import_module(package).OpenSourceAI(url)
MESSAGES = [
    {"role": "system", "content": "You are a friendly bot."},
    {"role": "user", "content": "Say “hello” in three lánguages."},
]
LIMITS = {"max_tokens": 12, "temperature": 0.0}


def failure(name):
    try:
        client.chat_completions_create({"model": name}, MESSAGES)
    except Exception as error:  # noqa: BLE001 -- the class that this client raises
        return str(error)


async def asynchronously():
    whole = await client.chat_completions_create_async(model, MESSAGES, **LIMITS)
    stream = await client.chat_completions_create_stream_async(model, MESSAGES, **LIMITS)
    return whole, [chunk async for chunk in stream]


whole, chunks = asyncio.run(asynchronously())
described = {
    "model": model,
    "token": "hf_unused",
    "load_in_8bit": "true",
    "temperature": 0.1,
    "repetition_penalty": 1.5,
}
print(
    json.dumps(
        {
            "sync": client.chat_completions_create(model, MESSAGES, **LIMITS),
            "async": whole,
            "stream": list(client.chat_completions_create_stream(model, MESSAGES, **LIMITS)),
            "stream_async": chunks,
            "described": client.chat_completions_create(described, MESSAGES, max_tokens=12),
            "failure": failure("no-such-model"),
        }
    )
)
