using System.Buffers.Binary;
using System.Globalization;
using System.Net.WebSockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Broadcast.Middleware.Tests.Documentation;

/// <summary>Contains the code of docs/guides/iot.md.</summary>
static class SensorGuide
{
    public static void Add(WebApplicationBuilder builder)
    {
        builder.Services.AddBroadcast(options => options.Groups["/sensors"] = new() { SlowConsumer = SlowConsumer.Conflate });
    }

    public static void Map(WebApplication app)
    {
        app.MapBroadcast("/sensors", options =>
            {
                options.MaxMessageBytes = 8;
                options.MaxMessagesPerSecond = 20;
            })
            .Use((context, next) =>
            {
                if (context.Message is not { Type: MessageType.Binary, Payload.Length: 8 } reading)
                {
                    context.Close(WebSocketCloseStatus.InvalidMessageType, "Send 8 bytes: the sensor (uint32) and the value (float32).");
                    return Task.CompletedTask;
                }

                var sensor = BinaryPrimitives.ReadUInt32LittleEndian(reading.Payload.Span);
                context.Message = reading with { Key = sensor.ToString(CultureInfo.InvariantCulture) };
                return next(context);
            });

        app.MapPost("/sensors/{sensor}", async (uint sensor, float value, IBroadcaster broadcaster) =>
        {
            var reading = new byte[8];
            BinaryPrimitives.WriteUInt32LittleEndian(reading, sensor);
            BinaryPrimitives.WriteSingleLittleEndian(reading.AsSpan(4), value);
            var message = new Message(reading, MessageType.Binary) { Key = sensor.ToString(CultureInfo.InvariantCulture) };
            await broadcaster.PublishAsync(message, Recipients.Group("/sensors"));
            return Results.NoContent();
        });
    }
}
