using System.Net.WebSockets;
using System.Text.Json;
using Broadcast.Middleware.Dashboard.Diagnostics;

namespace Broadcast.Middleware.Dashboard.Requests;

/// <summary>
/// Answers the requests of the page. For an invalid request, the answer names the problem and the fix.
/// </summary>
/// <param name="broadcaster">Publishes messages and closes connections.</param>
/// <param name="groups">Finds groups, members and messages.</param>
/// <param name="nodes">The nodes.</param>
/// <param name="logger">The logger.</param>
sealed class RequestHandler(IBroadcaster broadcaster, GroupQueries groups, NodeList nodes, DashboardLogger logger)
{
    /// <summary>Handles a request and returns the answer.</summary>
    /// <param name="message">The request.</param>
    /// <param name="viewer">The user ID or address of the viewer, for the log.</param>
    /// <param name="cancellationToken">Canceled when the viewer disconnects.</param>
    public async ValueTask<Message> HandleAsync(Message message, string viewer, CancellationToken cancellationToken)
    {
        var id = 0L;
        try
        {
            var request = Parse(message);
            id = request.Id;
            return await HandleAsync(request, viewer, cancellationToken);
        }
        catch (Exception exception) when (exception is RequestException or ArgumentException or BackplaneException)
        {
            return Problem(id, WithoutParameter(exception));
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            // For example, the registry of the app threw an exception. The page stays connected.
            logger.RequestFailed(exception);
            return Problem(id, "The server failed to answer. The log of the server contains the error.");
        }
    }

    static Message Problem(long id, string text) =>
        Message.FromJson(new ProblemReply { Id = id, Text = text }, DashboardJson.Default.ProblemReply);

    static DashboardRequest Parse(Message message)
    {
        try
        {
            var request = message.Type == MessageType.Text
                ? JsonSerializer.Deserialize(message.Payload.Span, DashboardJson.Default.DashboardRequest)
                : null;
            if (request is not null) return request;
        }
        catch (JsonException)
        {
            // The exception below names the fix.
        }

        throw new RequestException("The request is not valid. Send a JSON object as a text message.");
    }

    /// <summary>
    /// Returns the message of an exception without the name of a C# parameter. The parameter name would confuse the
    /// user.
    /// </summary>
    static string WithoutParameter(Exception exception) =>
        exception is ArgumentException { ParamName: { } name }
            ? exception.Message.Replace($" (Parameter '{name}')", "", StringComparison.Ordinal)
            : exception.Message;

    async ValueTask<Message> HandleAsync(
        DashboardRequest request, string viewer, CancellationToken cancellationToken) => request.Type switch
        {
            "groups" => Message.FromJson(
                groups.Search(request.Id, request.Search ?? ""), DashboardJson.Default.GroupsReply),
            "group" => Message.FromJson(
                await groups.OpenAsync(request.Id, request.Name ?? "", cancellationToken),
                DashboardJson.Default.GroupReply),
            "nodes" => Message.FromJson(
                await nodes.ListAsync(request.Id, cancellationToken), DashboardJson.Default.NodesReply),
            "publish" => Done(request.Id, await PublishAsync(request, viewer, cancellationToken)),
            "close" => Done(request.Id, await CloseAsync(request, viewer, cancellationToken)),
            _ => throw new RequestException(
                "The type of the request is unknown. Use groups, group, nodes, publish or close."),
        };

    static Message Done(long id, string text) =>
        Message.FromJson(new DoneReply { Id = id, Text = text }, DashboardJson.Default.DoneReply);

    async ValueTask<string> PublishAsync(DashboardRequest request, string viewer, CancellationToken cancellationToken)
    {
        var recipients = GetRecipients(request);
        if (request.Text is not { Length: > 0 } text)
            throw new RequestException("The message is empty. Enter a text.");
        var message = Message.FromText(text);
        var result = await broadcaster.PublishAsync(message, recipients, cancellationToken);
        logger.Published(viewer, message.Payload.Length, recipients.Kind);
        var connections = result.LocalRecipients == 1 ? "1 connection" : $"{result.LocalRecipients} connections";
        return $"Published to {connections} of this node.";
    }

    static Recipients GetRecipients(DashboardRequest request)
    {
        var name = request.Name ?? "";
        if (request.To != "everyone" && name.Length == 0)
        {
            throw new RequestException(
                "The recipients are missing. Enter the name of a group, or the ID of a user or a connection.");
        }

        return request.To switch
        {
            "everyone" => Recipients.Everyone,
            "group" => Recipients.Group(name),
            "user" => Recipients.User(name),
            "connection" => Recipients.Connection(name),
            _ => throw new RequestException(
                "The kind of the recipients is unknown. Use everyone, group, user or connection."),
        };
    }

    async ValueTask<string> CloseAsync(DashboardRequest request, string viewer, CancellationToken cancellationToken)
    {
        if (request.Name is not { Length: > 0 } id)
        {
            throw new RequestException(
                "The ID of the connection is missing. Enter an ID, or choose a connection in a list.");
        }

        var status = (WebSocketCloseStatus)(request.Code ?? (int)WebSocketCloseStatus.NormalClosure);
        var reason = request.Reason is { Length: > 0 } text ? text : null;
        if (!await broadcaster.CloseAsync(id, status, reason, cancellationToken))
            throw new RequestException("No connection has this ID. The connection may have ended. Check the ID.");
        logger.Closed(viewer, id, (int)status);
        return $"Connection {id} is closing with close code {(int)status}.";
    }
}
