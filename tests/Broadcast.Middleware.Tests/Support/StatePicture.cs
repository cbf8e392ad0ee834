using System.Text.Json;

namespace Broadcast.Middleware.Tests.Support;

/// <summary>The states of a group, rebuilt from the messages that a subscriber receives. Fails on an invalid message.</summary>
sealed class StatePicture(string group)
{
    readonly Dictionary<string, (string? User, string State, long At)> _members = [];

    public int Snapshots { get; private set; }

    public int Updates { get; private set; }

    public IEnumerable<(string Id, string? User, string State, long At)> Members =>
        _members.Select(member => (member.Key, member.Value.User, member.Value.State, member.Value.At)).OrderBy(member => member.Key, StringComparer.Ordinal);

    public IEnumerable<(string Id, string State)> States => Members.Select(member => (member.Id, member.State));

    public string? this[string id] => _members.TryGetValue(id, out var member) ? member.State : null;

    public static string Snapshot(string group, params string[] items) => $$"""{"type":"groupStateSnapshot","group":"{{group}}","items":[{{string.Join(',', items)}}]}""";

    public static string Update(string group, params string[] items) => $$"""{"type":"groupStateUpdate","group":"{{group}}","items":[{{string.Join(',', items)}}]}""";

    public static string CreateItem(string id, string? user, string? state, DateTimeOffset at) =>
        $$"""{"connectionId":"{{id}}",{{(user is null ? "" : $"\"userId\":\"{user}\",")}}{{(state is null ? "" : $"\"state\":{state},")}}"updatedAt":{{at.ToUnixTimeMilliseconds()}}}""";

    /// <summary>Reads messages about the group until the condition is true.</summary>
    public async Task ReadUntilAsync(RawClient client, Func<bool> condition)
    {
        while (!condition()) Apply(await JsonClient.ReadAsync(client));
    }

    public void Apply(ReadOnlyMemory<byte> message) => Apply(System.Text.Encoding.UTF8.GetString(message.Span));

    public void Apply(string message)
    {
        using var document = JsonDocument.Parse(message);
        var (root, seen) = (document.RootElement, new HashSet<string>());
        Assert.Equal(group, root.GetProperty("group").GetString());
        if (root.GetProperty("type").GetString() == "groupStateSnapshot")
        {
            Snapshots++;
            _members.Clear();
        }
        else
        {
            Assert.Equal("groupStateUpdate", root.GetProperty("type").GetString());
            Assert.True(Snapshots > 0, "An update arrived before the snapshot.");
            Assert.NotEqual(0, root.GetProperty("items").GetArrayLength());
            Updates++;
        }

        foreach (var item in root.GetProperty("items").EnumerateArray())
        {
            var id = item.GetProperty("connectionId").GetString()!;
            Assert.True(seen.Add(id), "The message contains the connection twice.");
            if (item.TryGetProperty("state", out var state))
            {
                Assert.Equal(JsonValueKind.Object, state.ValueKind);
                var user = item.TryGetProperty("userId", out var userId) ? userId.GetString() : null;
                _members[id] = (user, state.GetRawText(), item.GetProperty("updatedAt").GetInt64());
            }
            else
            {
                _members.Remove(id);
            }
        }
    }
}
