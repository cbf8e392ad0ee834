using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using NSubstitute;

namespace Broadcast.Middleware.Tests.Publishing;

/// <summary>Tests which JSON options the library uses to publish a value.</summary>
public sealed partial class JsonOptionsTests
{
    static readonly Order Value = new(Speed.Express, 3);

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(null)]
    [InlineData("key")]
    public async Task PublishValue_AppHasJsonOptions_UsesOptionsOfApp(string? key)
    {
        await using var host = await BroadcastTestHost.StartAsync(configure: Configure, cancellationToken: Token);
        await using var device = await host.ConnectAsync();
        await host.Broadcaster.PublishAsync(Value, key: key, cancellationToken: Token);
        Assert.Equal("""{"delivery_speed":"Express","item_count":3}""", await device.ReceiveTextAsync());
        await host.Broadcaster.PublishAsync(Value, Recipients.Connection(device.Connection.Id), key, Token);
        Assert.Equal("""{"delivery_speed":"Express","item_count":3}""", await device.ReceiveTextAsync());
    }

    [Fact]
    public async Task PublishValue_ToNamedBroadcast_UsesJsonOptionsOfApp()
    {
        await using var host = await BroadcastTestHost.StartAsync(
            configure: builder =>
            {
                Configure(builder);
                builder.Services.AddBroadcast("prices");
            },
            map: map => map.MapBroadcast("/prices", "prices"),
            cancellationToken: Token);
        var broadcaster = host.Services.GetRequiredKeyedService<IBroadcaster>("prices");
        await using var device = await host.ConnectAsync("/prices");
        await broadcaster.PublishAsync(Value, cancellationToken: Token);
        Assert.Equal("""{"delivery_speed":"Express","item_count":3}""", await device.ReceiveTextAsync());
    }

    [Fact]
    public async Task PublishValue_AppHasNoJsonOptions_UsesWebDefaults()
    {
        await using var host = await BroadcastTestHost.StartAsync(cancellationToken: Token);
        await using var device = await host.ConnectAsync();
        await host.Broadcaster.PublishAsync(Value, cancellationToken: Token);
        Assert.Equal("""{"deliverySpeed":1,"itemCount":3}""", await device.ReceiveTextAsync());
    }

    [Theory]
    [InlineData(null)]
    [InlineData("key")]
    public async Task PublishValue_WithTypeInfo_IgnoresJsonOptionsOfApp(string? key)
    {
        await using var host = await BroadcastTestHost.StartAsync(configure: Configure, cancellationToken: Token);
        await using var device = await host.ConnectAsync();
        await host.Broadcaster.PublishAsync(Value, OrderContext.Default.Order, key: key, cancellationToken: Token);
        Assert.Equal("""{"DeliverySpeed":1,"ItemCount":3}""", await device.ReceiveTextAsync());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task PublishValue_WithKey_SetsKeyAndIsJson(bool withTypeInfo)
    {
        var broadcaster = Substitute.For<IBroadcaster>();
        broadcaster.SerializerOptions.Returns(JsonSerializerOptions.Default);
        var recipients = Recipients.Group("/orders");
        if (withTypeInfo) await broadcaster.PublishAsync(Value, OrderContext.Default.Order, recipients, "key", Token);
        else await broadcaster.PublishAsync(Value, recipients, "key", Token);
        await broadcaster.Received(1).PublishAsync(
            Arg.Is<Message>(message => message.Key == "key" && message.IsJson && message.Type == MessageType.Text), recipients, Token);
    }

    [Fact]
    public async Task PublishValue_TypeWithoutMetadata_ThrowsAndPublishesNothing()
    {
        await using var host = await BroadcastTestHost.StartAsync(
            configure: builder => builder.Services.ConfigureHttpJsonOptions(
                static options => options.SerializerOptions.TypeInfoResolver = OrderContext.Default),
            cancellationToken: Token);
        await using var device = await host.ConnectAsync();
        await Assert.ThrowsAsync<NotSupportedException>(async () => await host.Broadcaster.PublishAsync(new Uri("http://localhost"), cancellationToken: Token));
        await host.Broadcaster.PublishAsync("end", cancellationToken: Token);
        Assert.Equal("end", await device.ReceiveTextAsync());
    }

    static void Configure(WebApplicationBuilder builder) => builder.Services.ConfigureHttpJsonOptions(static options =>
    {
        options.SerializerOptions.PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower;
        options.SerializerOptions.Converters.Add(new JsonStringEnumConverter());
    });

    public enum Speed
    {
        Normal,
        Express,
    }

    public sealed record Order(Speed DeliverySpeed, int ItemCount);

    [JsonSerializable(typeof(Order))]
    sealed partial class OrderContext : JsonSerializerContext;
}
