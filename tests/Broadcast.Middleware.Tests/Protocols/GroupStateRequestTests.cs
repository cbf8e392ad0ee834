using System.Text;
using CsCheck;

namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>Tests the parser of requests about group states.</summary>
public sealed class GroupStateRequestTests
{
    [Theory]
    [InlineData("setGroupState", nameof(JsonRequestKind.SetState))]
    [InlineData("subscribeGroupState", nameof(JsonRequestKind.SubscribeStates))]
    [InlineData("unsubscribeGroupState", nameof(JsonRequestKind.UnsubscribeStates))]
    public void Parse_GroupStateRequest_ReadsKindGroupAndAckId(string type, string kind)
    {
        var request = Read($$"""{"ackId":7,"group":"g","type":"{{type}}"}""");
        Assert.Equal((kind, "g", 7UL, true), (request.Kind.ToString(), request.Group, request.AckId, request.State.IsEmpty));
    }

    [Theory]
    [InlineData("""{"state":{"a":"b"},"type":"setGroupState","group":"g"}""", """{"a":"b"}""")]
    [InlineData("""{"type":"setGroupState","group":"g","state" : { "a" : "\u0041" } }""", """{ "a" : "\u0041" }""")]
    [InlineData("""{"type":"setGroupState","group":"g","st\u0061te":{}}""", "{}")]
    [InlineData("""{"type":"setGroupState","group":"g","state":5,"state":{"last":"counts"}}""", """{"last":"counts"}""")]
    [InlineData("""{"type":"setGroupState","group":"g","state":{"last":"counts"},"state":null}""", "")]
    [InlineData("""{"type":"setGroupState","group":"g","data":1,"State":1}""", "")]
    [InlineData("""{"type":"joinGroup","group":"g","state":[5]}""", "")]
    public void Parse_State_KeepsOriginalJson(string json, string state) => Assert.Equal(state, Encoding.UTF8.GetString(Read(json).State.Span));

    [Fact]
    public void Parse_RandomlyDamagedRequest_YieldsProblemOrValidState() =>
        Gen.Select(Gen.Int[0, 100], Gen.Int[0, 3], Gen.String["{}[]\",:\\u0dD8e1.-\0é😀 "]).Array[1, 4].Sample(
            changes =>
            {
                var text = """{"type":"setGroupState","group":"g","ackId":3,"state":{"key":"value","\ud83d\ude00":""}}""";
                foreach (var (at, length, inserted) in changes)
                {
                    var start = Math.Min(at, text.Length);
                    text = text[..start] + inserted[..Math.Min(inserted.Length, 6)] + text[Math.Min(text.Length, start + length)..];
                }

                var request = JsonRequest.Parse(Encoding.UTF8.GetBytes(text), out var problem);
                if (problem is not null)
                {
                    Assert.InRange(Encoding.UTF8.GetByteCount(problem), 1, 123);
                    return;
                }

                Assert.True(request.State.IsEmpty || GroupState.IsValid(request.State), text);
            },
            iter: 5_000 * Effort.Factor);

    static JsonRequest Read(string json)
    {
        var request = JsonRequest.Parse(Encoding.UTF8.GetBytes(json), out var problem);
        Assert.True(problem is null, $"{json}: {problem}");
        return request;
    }
}
