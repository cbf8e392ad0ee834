using System.Globalization;
using Broadcast.Middleware;
using Microsoft.AspNetCore.Http.HttpResults;

namespace WebDemo;

/// <summary>Sensors send their readings with curl: <c>curl -d 21.5 localhost:5000/sensors/kitchen</c>.</summary>
static class Sensors
{
    const int MaxNameLength = 32, MaxBodyLength = 32;
    static readonly Recipients Group = Recipients.Group("/sensors");

    #region sensors
    public static void Map(IEndpointRouteBuilder app)
    {
        // The pages only receive. appsettings.json sets the number of readings that new pages get.
        app.MapBroadcast("/sensors").Use(static (_, _) => Task.CompletedTask);
        app.MapPost("/sensors/{sensor}", PublishAsync);
    }

    static async Task<IResult> PublishAsync(string sensor, HttpRequest request, IBroadcaster broadcaster, TimeProvider time)
    {
        if (await ReadNumberAsync(request) is not { } value) return BadRequest("Send one number in the body: curl -d 21.5");
        if (sensor.Length > MaxNameLength) return BadRequest($"Use a sensor name with at most {MaxNameLength} characters.");
        var reading = new SensorReading(sensor, value, time.GetUtcNow().ToUnixTimeMilliseconds());
        await broadcaster.PublishAsync(reading, DemoJson.Default.SensorReading, Group, key: sensor);
        return TypedResults.NoContent();
    }
    #endregion

    static ContentHttpResult BadRequest(string text) => TypedResults.Text(text + "\n", statusCode: 400);

    static async Task<double?> ReadNumberAsync(HttpRequest request)
    {
        if (request.ContentLength is not (> 0 and <= MaxBodyLength)) return null;
        using var reader = new StreamReader(request.Body);
        var text = await reader.ReadToEndAsync(request.HttpContext.RequestAborted);
        return double.TryParse(text, CultureInfo.InvariantCulture, out var value) && double.IsFinite(value) ? value : null;
    }
}

/// <summary>A reading of a sensor.</summary>
/// <param name="Sensor">The name of the sensor.</param>
/// <param name="Value">The value.</param>
/// <param name="Time">The time of the reading, in milliseconds since 1970.</param>
sealed record SensorReading(string Sensor, double Value, long Time);
