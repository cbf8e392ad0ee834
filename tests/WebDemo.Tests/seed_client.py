"""The client of the original Python server, without its page.

Prints each received message. Sends each line of standard input. Closes the connection at the end of the input.
"""
import asyncio
import sys

import websockets


async def receive(uri):
    async with websockets.connect(uri) as websocket:
        print("Connected!", flush=True)
        sending = asyncio.create_task(send_lines(websocket))
        try:
            while True:
                message = await websocket.recv()
                print(f"Received: {message}", flush=True)
        except websockets.ConnectionClosedOK:
            await sending


async def send_lines(websocket):
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        await websocket.send(line.rstrip("\n"))
    await websocket.close()


asyncio.run(receive(sys.argv[1]))
