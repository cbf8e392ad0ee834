using System.Security.Cryptography;
using Microsoft.AspNetCore.Http;
using Microsoft.Net.Http.Headers;

namespace Broadcast.Middleware.Dashboard.Assets;

/// <summary>A file of the page. The file is a resource of the assembly.</summary>
sealed class Asset
{
    // The page contains no inline script and no inline style. The page opens connections only to its own server.
    const string ContentSecurityPolicy =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
        "require-trusted-types-for 'script'; trusted-types 'none'";

    readonly string _contentType;
    readonly byte[] _content;
    readonly EntityTagHeaderValue _tag;

    Asset(string name, string contentType)
    {
        Name = name;
        _contentType = contentType;
        using var resource = typeof(Asset).Assembly.GetManifestResourceStream(name)!;
        _content = new byte[resource.Length];
        resource.ReadExactly(_content);
        _tag = new($"\"{Convert.ToHexStringLower(SHA256.HashData(_content).AsSpan(0, 12))}\"");
    }

    public static IReadOnlyList<Asset> All { get; } =
    [
        new("dashboard.html", "text/html; charset=utf-8"),
        new("dashboard.css", "text/css; charset=utf-8"),
        new("dashboard.js", "text/javascript; charset=utf-8"),
        new("plot.js", "text/javascript; charset=utf-8"),
        new("icon.svg", "image/svg+xml"),
    ];

    public string Name { get; }

    /// <summary>The URL of the file, relative to the URL of the dashboard.</summary>
    public string Path => IsPage ? "/" : "/" + Name;

    bool IsPage => Name.EndsWith(".html", StringComparison.Ordinal);

    public Task RespondAsync(HttpContext context)
    {
        var (request, response) = (context.Request, context.Response);
        var path = request.PathBase.Add(request.Path).Value!;
        if (IsPage && !path.EndsWith('/'))
        {
            // The links of the page are relative to a URL with a slash at the end. A relative URL also works behind a
            // proxy that changes the path.
            response.Redirect($"./{Uri.EscapeDataString(path[(path.LastIndexOf('/') + 1)..])}/{request.QueryString}");
            return Task.CompletedTask;
        }

        var headers = response.GetTypedHeaders();
        headers.ETag = _tag;
        headers.CacheControl = new() { NoCache = true, Private = true };
        response.Headers.XContentTypeOptions = "nosniff";
        response.Headers.ContentSecurityPolicy = ContentSecurityPolicy;
        response.Headers.XFrameOptions = "DENY";
        response.Headers["Referrer-Policy"] = "no-referrer";
        response.Headers["Cross-Origin-Opener-Policy"] = "same-origin";
        response.Headers["Cross-Origin-Resource-Policy"] = "same-origin";
        if (request.GetTypedHeaders().IfNoneMatch.Any(tag => tag.Compare(_tag, useStrongComparison: false)))
        {
            response.StatusCode = StatusCodes.Status304NotModified;
            return Task.CompletedTask;
        }

        response.ContentType = _contentType;
        response.ContentLength = _content.Length;
        return HttpMethods.IsHead(request.Method)
            ? Task.CompletedTask
            : response.Body.WriteAsync(_content, context.RequestAborted).AsTask();
    }
}
