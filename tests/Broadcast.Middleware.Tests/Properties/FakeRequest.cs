using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Broadcast.Middleware.Tests.Properties;

/// <summary>A fake request that records whether it was aborted.</summary>
sealed class FakeRequest : IHttpRequestLifetimeFeature
{
    volatile bool _isAborted;

    public FakeRequest()
    {
        Context = new DefaultHttpContext();
        Context.Features.Set<IHttpRequestLifetimeFeature>(this);
    }

    public HttpContext Context { get; }

    public bool IsAborted => _isAborted;

    CancellationToken IHttpRequestLifetimeFeature.RequestAborted { get; set; }

    void IHttpRequestLifetimeFeature.Abort() => _isAborted = true;
}
