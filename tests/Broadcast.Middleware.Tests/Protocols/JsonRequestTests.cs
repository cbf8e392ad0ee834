using System.Text;
using System.Text.Json;
using CsCheck;

namespace Broadcast.Middleware.Tests.Protocols;

/// <summary>Tests which requests the JSON protocol accepts, and which requests it rejects.</summary>
public sealed class JsonRequestTests
{
    static readonly string[] _valid =
    [
        """{"type":"joinGroup","group":"g","ackId":1}""",
        """{"type":"leaveGroup","group":"g","ackId":2}""",
        """{"type":"sendToGroup","group":"g","ackId":3,"noEcho":true,"dataType":"text","data":"h\ud83d\ude00\n"}""",
        """{"type":"sendToGroup","group":"g","dataType":"json","data":{"a":[1,2.50,"\u0041",null,true]}}""",
        """{"type":"sendToGroup","group":"g","dataType":"binary","data":"AQID"}""",
        """{"type":"event","event":"name","ackId":5,"dataType":"json","data":{}}""",
        """{"type":"sequenceAck","sequenceId":3}""",
        """{"type":"ping"}""",
    ];

    [Fact]
    public void Parse_JoinAndLeave_ReadsGroupAndAckId()
    {
        var join = Read("""{"type":"joinGroup","group":"g","ackId":1}""");
        Assert.Equal((JsonRequestKind.Join, "g", 1UL), (join.Kind, join.Group, join.AckId));
        var leave = Read("""{"ackId":18446744073709551615,"group":"a b","type":"leaveGroup"}""");
        Assert.Equal((JsonRequestKind.Leave, "a b", ulong.MaxValue), (leave.Kind, leave.Group, leave.AckId));
        Assert.Null(Read("""{"type":"joinGroup","group":"g"}""").AckId);
    }

    [Fact]
    public void Parse_PingAndSequenceAck_ReadsKind()
    {
        Assert.Equal(JsonRequestKind.Ping, Read("""{"type":"ping"}""").Kind);
        Assert.Equal(JsonRequestKind.SequenceAck, Read("""{"type":"sequenceAck","sequenceId":3}""").Kind);
    }

    [Fact]
    public void Parse_Event_ReadsNameAndData()
    {
        var request = Read("""{"type":"event","event":"name","ackId":5,"dataType":"json","data":{ "a":1 }}""");
        Assert.Equal((JsonRequestKind.Event, "name", 5UL), (request.Kind, request.Event, request.AckId));
        Assert.Equal(("""{ "a":1 }""", true), (request.Data.ToString(), request.Data.IsJson));
    }

    [Fact]
    public void Parse_SendInAnyPropertyOrder_ReadsAllProperties()
    {
        foreach (var properties in Permutations("\"type\":\"sendToGroup\"", "\"group\":\"g\"", "\"dataType\":\"text\"", "\"data\":\"hi\"", "\"noEcho\":true", "\"ackId\":7"))
        {
            var request = Read("{" + string.Join(',', properties) + "}");
            Assert.Equal((JsonRequestKind.Send, "g", true, 7UL), (request.Kind, request.Group, request.NoEcho, request.AckId));
            Assert.Equal(("hi", MessageType.Text, false), (request.Data.ToString(), request.Data.Type, request.Data.IsJson));
        }
    }

    [Fact]
    public void Parse_UnknownProperties_AreIgnored()
    {
        var request = Read("""{"x":{"data":1,"ackId":"no","y":[[]]},"type":"sendToGroup","Group":5,"group":"g","data":1,"z":null,"ackId":2,"w":"\ud800"}""");
        Assert.Equal((JsonRequestKind.Send, "g", "1", 2UL), (request.Kind, request.Group, request.Data.ToString(), request.AckId));
    }

    [Fact]
    public void Parse_DuplicateProperties_UsesLastValue()
    {
        var request = Read("""{"type":"ping","type":"sendToGroup","group":"a","group":"b","data":1,"data":2,"ackId":1,"ackId":2,"noEcho":true,"noEcho":false}""");
        Assert.Equal((JsonRequestKind.Send, "b", "2", 2UL, false), (request.Kind, request.Group, request.Data.ToString(), request.AckId, request.NoEcho));
    }

    [Fact]
    public void Parse_EscapedNames_AreUnescaped()
    {
        var request = Read("""{"t\u0079pe":"join\u0047roup","gr\u006fup":"\"\u00e9\ud83d\ude00","ack\u0049d":1}""");
        Assert.Equal((JsonRequestKind.Join, "\"é😀", 1UL), (request.Kind, request.Group, request.AckId));
    }

    [Theory]
    [InlineData("text")]
    [InlineData("Text")]
    [InlineData("TEXT")]
    public void Parse_TextTypeInAnyCase_IsAccepted(string dataType) => Assert.Equal("hi", Read(Send($"\"{dataType}\"", "\"hi\"")).Data.ToString());

    [Theory]
    [InlineData("binary")]
    [InlineData("Binary")]
    public void Parse_BinaryTypeInAnyCase_IsAccepted(string dataType)
    {
        var data = Read(Send($"\"{dataType}\"", "\"AQID\"")).Data;
        Assert.Equal(MessageType.Binary, data.Type);
        Assert.Equal([1, 2, 3], data.Payload.ToArray());
    }

    [Theory]
    [InlineData("""{"a":{"b":[1,{"c":null}]},"d":"\u0041\/"}""")]
    [InlineData("[ 1 ,2 , [] ]")]
    [InlineData("\"text\"")]
    [InlineData("\"\"")]
    [InlineData("-1.50E+400")]
    [InlineData("123456789012345678901234567890.1234567890123456789")]
    [InlineData("0")]
    [InlineData("true")]
    [InlineData("false")]
    [InlineData("null")]
    [InlineData("{}")]
    public void Parse_JsonData_KeepsOriginalText(string data)
    {
        foreach (var dataType in new[] { "\"json\"", "\"Json\"", null })
        {
            foreach (var json in new[] { Send(dataType, data), $$"""{"data": {{data}} ,"type":"sendToGroup","group":"g"}""" })
            {
                var message = Read(json).Data;
                Assert.Equal((data, MessageType.Text, true), (message.ToString(), message.Type, message.IsJson));
            }
        }
    }

    [Theory]
    [InlineData("""\u0048i""", "Hi")]
    [InlineData("""\"\\\/\b\f\n\r\t""", "\"\\/\b\f\n\r\t")]
    [InlineData("""\ud83d\ude00""", "😀")]
    [InlineData("""😀é\u0000""", "😀é\0")]
    [InlineData("", "")]
    public void Parse_EscapedText_IsUnescaped(string escaped, string text) => Assert.Equal(text, Read(Send("\"text\"", $"\"{escaped}\"")).Data.ToString());

    [Theory]
    [InlineData("""\ud83d""")]
    [InlineData("""\ude00""")]
    [InlineData("""\ude00\ud83d""")]
    [InlineData("""\ud83dx""")]
    [InlineData("""\ud83d\u0041""")]
    public void Parse_LoneSurrogate_IsRejected(string escaped)
    {
        Refuses(Send("\"text\"", $"\"{escaped}\""));
        Refuses(Send("\"binary\"", $"\"{escaped}\""));
        Refuses($$"""{"type":"joinGroup","group":"{{escaped}}"}""");
        Refuses($$"""{"type":"{{escaped}}"}""");
    }

    [Theory]
    [InlineData("", 0)]
    [InlineData("AA==", 1)]
    [InlineData("AAA=", 2)]
    [InlineData("AAAA", 3)]
    [InlineData("A A\\tA\\r\\nA", 3)]
    [InlineData("AQ\\u0049D", 3)]
    [InlineData("+\\/+\\/", 3)]
    public void Parse_ValidBase64_IsDecoded(string data, int length) => Assert.Equal(length, Read(Send("\"binary\"", $"\"{data}\"")).Data.Payload.Length);

    [Theory]
    [InlineData("A")]
    [InlineData("AA")]
    [InlineData("AAA")]
    [InlineData("A===")]
    [InlineData("AA=")]
    [InlineData("AAAA=")]
    [InlineData("AA==AA==")]
    [InlineData("=")]
    [InlineData("-_-_")]
    [InlineData("A\\u00a0AAA")]
    [InlineData("AAé=")]
    public void Parse_InvalidBase64_IsRejected(string data) => Refuses(Send("\"binary\"", $"\"{data}\""));

    [Fact]
    public void Parse_Base64WithSpareBits_AcceptsOnlyDecodableData()
    {
        // Base64 decoders treat spare bits differently. Invariant: data that passes the check can be decoded.
        var request = JsonRequest.Parse(Bytes(Send("\"binary\"", "\"AB==\"")), out var problem);
        Assert.True(problem is not null || request.Data.Payload.Length == 1);
    }

    [Theory]
    [InlineData("\"text\"", "1")]
    [InlineData("\"text\"", "null")]
    [InlineData("\"text\"", "{}")]
    [InlineData("\"text\"", "[\"a\"]")]
    [InlineData("\"binary\"", "1")]
    [InlineData("\"binary\"", "null")]
    [InlineData("\"binary\"", "{\"AAAA\":1}")]
    [InlineData("\"protobuf\"", "\"AAAA\"")]
    [InlineData("\"\"", "1")]
    public void Parse_DataOfWrongType_IsRejected(string dataType, string data) => Refuses(Send(dataType, data));

    [Theory]
    [InlineData("""{"type":"sendToGroup","group":"g"}""")]
    [InlineData("""{"type":"event","event":"e"}""")]
    [InlineData("""{"type":"event","data":1}""")]
    [InlineData("""{"type":"event","event":"","data":1}""")]
    [InlineData("""{"type":"event","event":"a\u0007","data":1}""")]
    [InlineData("""{"type":"joinGroup"}""")]
    [InlineData("""{"type":"joinGroup","group":""}""")]
    [InlineData("""{"type":"joinGroup","group":"a\nb"}""")]
    [InlineData("""{"type":"joinGroup","group":"a\u0085b"}""")]
    [InlineData("""{"type":"leaveGroup","group":"a\u2028b"}""")]
    [InlineData("""{"type":"invoke"}""")]
    [InlineData("""{"type":"JOINGROUP","group":"g"}""")]
    [InlineData("""{"group":"g"}""")]
    [InlineData("{}")]
    public void Parse_MissingPropertyOrInvalidName_IsRejected(string json) => Refuses(json);

    [Fact]
    public void Parse_NameLongerThan255Characters_IsRejected()
    {
        var (longest, tooLong) = (new string('x', 255), new string('x', 256));
        Assert.Equal(longest, Read($$"""{"type":"joinGroup","group":"{{longest}}"}""").Group);
        Assert.Equal(longest, Read($$"""{"type":"event","event":"{{longest}}","data":1}""").Event);
        Refuses($$"""{"type":"joinGroup","group":"{{tooLong}}"}""");
        Refuses($$"""{"type":"sendToGroup","group":"{{tooLong}}","data":1}""");
        Refuses($$"""{"type":"event","event":"{{tooLong}}","data":1}""");
    }

    [Theory]
    [InlineData("type")]
    [InlineData("group")]
    [InlineData("event")]
    [InlineData("dataType")]
    [InlineData("noEcho")]
    public void Parse_PropertyOfWrongType_IsRejectedWithAckId(string property)
    {
        string[] wrong = ["1", "null", "[1,{\"ackId\":8}]", "{\"ackId\":8,\"type\":\"ping\"}", property == "noEcho" ? "\"true\"" : "true"];
        foreach (var value in wrong)
        {
            string[] rest = ["\"type\":\"sendToGroup\"", "\"group\":\"g\"", "\"data\":1", "\"ackId\":7"];
            string[] others = [.. rest.Where(other => !other.StartsWith($"\"{property}\"", StringComparison.Ordinal))];
            for (var place = 0; place <= others.Length; place++)
            {
                string[] all = [.. others[..place], $"\"{property}\":{value}", .. others[place..]];
                var json = "{" + string.Join(',', all) + "}";
                var request = JsonRequest.Parse(Bytes(json), out var problem);
                Assert.True(problem?.StartsWith(property, StringComparison.Ordinal), $"{json}: {problem}");
                Assert.True(request.AckId == 7, json);
            }
        }
    }

    [Theory]
    [InlineData("-1")]
    [InlineData("-0")]
    [InlineData("1.5")]
    [InlineData("1.0")]
    [InlineData("1e2")]
    [InlineData("18446744073709551616")]
    [InlineData("\"1\"")]
    [InlineData("null")]
    [InlineData("{\"ackId\":1}")]
    public void Parse_InvalidAckId_IsRejected(string ackId) =>
        Assert.Null(Refuses($$"""{"type":"joinGroup","ackId":{{ackId}},"group":"g"}""").AckId);

    [Theory]
    [InlineData("")]
    [InlineData(" ")]
    [InlineData("null")]
    [InlineData("1")]
    [InlineData("\"ping\"")]
    [InlineData("[]")]
    [InlineData("[{\"type\":\"ping\"}]")]
    [InlineData("{")]
    [InlineData("{\"type\"")]
    [InlineData("{\"type\":")]
    [InlineData("{\"type\":\"ping\"")]
    [InlineData("{\"type\":\"ping\",}")]
    [InlineData("{\"type\":\"ping\"}}")]
    [InlineData("{\"type\":\"ping\"} {\"type\":\"ping\"}")]
    [InlineData("{\"type\":\"ping\"}x")]
    [InlineData("{'type':'ping'}")]
    [InlineData("{type:\"ping\"}")]
    [InlineData("{\"type\":\"ping\"/**/}")]
    [InlineData("\ufeff{\"type\":\"ping\"}")]
    [InlineData("{\"ackId\":1,\"type\":\"joinGroup\",\"group\":\"g\",\"data\":[}")]
    [InlineData("{\"ackId\":1,\"type\":\"joinGroup\",\"group\":\"a\nb\"}")]
    [InlineData("{\"ackId\":1,\"type\":\"joinGroup\",\"group\":\"\\x\"}")]
    [InlineData("{\"ackId\":01}")]
    public void Parse_InvalidJsonOrNotOneObject_IsRejectedWithoutAckId(string json) => Assert.Null(Refuses(json).AckId);

    [Fact]
    public void Parse_TooDeep_IsRejected()
    {
        foreach (var depth in new[] { 100, 10_000 })
        {
            Refuses(Send(null, new string('[', depth) + new string(']', depth)));
            Refuses(Send(null, new string('[', depth)));
            Refuses(string.Concat(Enumerable.Repeat("{\"data\":", depth)));
            Refuses(string.Concat(Enumerable.Repeat("{\"group\":", depth)));
        }

        Assert.True(Read(Send(null, new string('[', 50) + new string(']', 50))).Data.IsJson);
    }

    [Fact]
    public void Problem_AnyInvalidRequest_FitsIntoCloseFrame()
    {
        string[] all =
        [
            "", "{", "[]", "{}", """{"type":1}""", """{"type":"joinGroup"}""", """{"type":"event","data":1}""", """{"noEcho":1}""", """{"ackId":-1}""",
            $$"""{"type":"joinGroup","group":"{{new string('x', 10_000)}}"}""", """{"type":"joinGroup","group":"\u0001"}""",
            Send("\"text\"", "1"), Send("\"binary\"", "1"), Send("\"x\"", "1"), """{"type":"sendToGroup","group":"g"}""",
        ];
        foreach (var json in all)
        {
            JsonRequest.Parse(Bytes(json), out var problem);
            Assert.InRange(Encoding.UTF8.GetByteCount(problem!), 1, 123);
        }
    }

    [Fact]
    public void Parse_RandomText_IsReadOrRejected() =>
        Gen.OneOf(Gen.String, Gen.String["{}[]\",:\\u0dD8e1.-typeackIdsonlgruvba \n"]).Sample(
            text => Check(Bytes(text)), iter: 5_000 * Effort.Factor);

    [Fact]
    public void Parse_RandomlyDamagedRequest_IsReadOrRejected() =>
        Gen.Select(Gen.Int[0, _valid.Length - 1], Gen.Select(Gen.Int[0, 200], Gen.Int[0, 3], Gen.String["{}[]\",:\\u0dD8e1.-\0é😀 "]).Array[1, 4]).Sample(
            (which, changes) =>
            {
                var text = _valid[which];
                foreach (var (at, length, inserted) in changes)
                {
                    var start = Math.Min(at, text.Length);
                    text = text[..start] + inserted[..Math.Min(inserted.Length, 6)] + text[Math.Min(text.Length, start + length)..];
                }

                Check(Bytes(text));
            }, iter: 5_000 * Effort.Factor);

    /// <summary>Asserts that an accepted request has the properties on which other components rely.</summary>
    static void Check(byte[] json)
    {
        var request = JsonRequest.Parse(json, out var problem);
        if (problem is not null)
        {
            Assert.NotEmpty(problem);
            return;
        }

        Assert.NotEqual(JsonRequestKind.Unknown, request.Kind);
        using var document = JsonDocument.Parse(json);
        if (request.Kind is JsonRequestKind.Join or JsonRequestKind.Leave or JsonRequestKind.Send) Assert.Null(GroupName.Problem(request.Group));
        if (request.Kind is not (JsonRequestKind.Send or JsonRequestKind.Event)) return;
        if (request.Data.IsJson) JsonDocument.Parse(request.Data.Payload).Dispose();
        if (request.Data.Type == MessageType.Text) Assert.True(System.Text.Unicode.Utf8.IsValid(request.Data.Payload.Span));
        else Assert.Equal(MessageType.Binary, request.Data.Type);
    }

    static JsonRequest Read(string json)
    {
        var request = JsonRequest.Parse(Bytes(json), out var problem);
        Assert.True(problem is null, $"{json}: {problem}");
        return request;
    }

    static JsonRequest Refuses(string json)
    {
        var request = JsonRequest.Parse(Bytes(json), out var problem);
        Assert.True(problem is not null, json);
        return request;
    }

    static string Send(string? dataType, string data) =>
        $$"""{"type":"sendToGroup","group":"g",{{(dataType is null ? "" : $"\"dataType\":{dataType},")}}"data":{{data}}}""";

    static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);

    static IEnumerable<string[]> Permutations(params string[] items) => items.Length <= 1
        ? [items]
        : items.SelectMany((item, index) => Permutations([.. items[..index], .. items[(index + 1)..]]).Select(rest => (string[])[item, .. rest]));
}
