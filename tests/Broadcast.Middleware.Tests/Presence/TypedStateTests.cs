using System.Text;
using System.Text.Json.Serialization;

namespace Broadcast.Middleware.Tests.Presence;

/// <summary>Tests presence states of an app's own type.</summary>
public sealed partial class TypedStateTests
{
    const string Group = "/rooms/blue";

    static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task SetState_ValueOrNull_IsReadAsSameValueOrEmptyState()
    {
        using var node = new TestEngine();
        var connection = node.Connect(node.Pumps[0], Group, new ManualSink());

        Assert.True(await node.Presence.SetStateAsync(connection.Id, Group, new Player("Ann", 7), StateJson.Default.Player, Token));

        var member = Assert.Single(await node.Presence.GetMembersAsync(Group, Token));
        Assert.True(member.TryGetState(StateJson.Default.Player, out var player));
        Assert.Equal(new Player("Ann", 7), player);
        Assert.Equal("""{"Name":"Ann","Score":7}""", Encoding.UTF8.GetString(member.State.Span));

        Assert.True(await node.Presence.SetStateAsync(connection.Id, Group, null!, StateJson.Default.Player, Token));
        member = Assert.Single(await node.Presence.GetMembersAsync(Group, Token));
        Assert.True(member.State.IsEmpty);
        Assert.False(member.TryGetState(StateJson.Default.Player, out _, out var problem));
        Assert.Null(problem);
    }

    [Theory]
    [InlineData("""{"Name":"Ann"}""", "Score")]
    [InlineData("""{"Name":{},"Score":7}""", "Path: $.Name")]
    [InlineData("""["Ann", 7]""", "Path: $ ")]
    [InlineData("null", "The state is the JSON value null.")]
    [InlineData("{", "LineNumber: 0")]
    [InlineData("\u0001", "LineNumber: 0")]
    public void TryGetState_WrongShape_ReturnsFalseAndProblem(string state, string expected)
    {
        var member = new PresenceMember("1", null, Encoding.UTF8.GetBytes(state));
        Assert.False(member.TryGetState(StateJson.Default.Player, out var player));
        Assert.Null(player);
        Assert.False(member.TryGetState(StateJson.Default.Player, out player, out var problem));
        Assert.Null(player);
        Assert.Contains(expected, problem, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("""{"$type":"unknown","Name":"Ann"}""")]
    public void TryGetState_UnknownPolymorphicType_ReturnsFalse(string state)
    {
        var member = new PresenceMember("1", null, Encoding.UTF8.GetBytes(state));
        Assert.False(member.TryGetState(StateJson.Default.Figure, out var figure));
        Assert.Null(figure);
    }

    [Fact]
    public async Task SetState_ValueIsTooLarge_ThrowsAndKeepsState()
    {
        using var node = new TestEngine(configure: options => options.MaxPresenceStateBytes = 100);
        var connection = node.Connect(node.Pumps[0], Group, new ManualSink());
        await node.Presence.SetStateAsync(connection.Id, Group, new Player("Ann", 7), StateJson.Default.Player, Token);

        var error = await Assert.ThrowsAsync<ArgumentException>(async () =>
            await node.Presence.SetStateAsync(connection.Id, Group, new Player(new string('x', 100), 7), StateJson.Default.Player, Token));

        Assert.Contains(nameof(BroadcastOptions.MaxPresenceStateBytes), error.Message, StringComparison.Ordinal);
        var member = Assert.Single(await node.Presence.GetMembersAsync(Group, Token));
        Assert.True(member.TryGetState(StateJson.Default.Player, out var player));
        Assert.Equal("Ann", player.Name);
    }

    internal sealed record Player(string Name, [property: JsonRequired] int Score);

    [JsonPolymorphic]
    [JsonDerivedType(typeof(Pawn), "pawn")]
    internal abstract record Figure;

    internal sealed record Pawn(string Name) : Figure;

    [JsonSerializable(typeof(Figure))]
    [JsonSerializable(typeof(Player))]
    internal sealed partial class StateJson : JsonSerializerContext;
}
