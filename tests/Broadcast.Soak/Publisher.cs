using System.Text;

namespace Broadcast.Soak;

/// <summary>Publishes numbered messages at a fixed rate. One message per second is large, so slow clients fall behind.</summary>
sealed class Publisher(HttpClient http) : IDisposable
{
    public const int PerSecond = 20;

    readonly PeriodicTimer _timer = new(TimeSpan.FromSeconds(1.0 / PerSecond));

    public int Count { get; private set; }

    public async Task PublishAsync()
    {
        await _timer.WaitForNextTickAsync();
        Count++;
        await SendAsync(Count % PerSecond == 0 ? 16 * 1024 : 200);
    }

    public Task FinishAsync()
    {
        Count++;
        return SendAsync(200);
    }

    public void Dispose() => _timer.Dispose();

    async Task SendAsync(int size)
    {
        using var content = new StringContent($"{Count}:".PadRight(size, '.'), Encoding.UTF8);
        using var response = await http.PostAsync("/publish?group=/ws", content);
        response.EnsureSuccessStatusCode();
    }
}
