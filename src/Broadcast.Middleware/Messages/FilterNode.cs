using System.Text;

namespace Broadcast.Middleware.Messages;

/// <summary>A node in the expression tree of a filter. A node is immutable.</summary>
abstract class FilterNode
{
    // The precedence of the operators. An operand needs parentheses if its operator has a lower precedence than the
    // outer operator.
    protected const int OrLevel = 0, AndLevel = 1, NotLevel = 2, TermLevel = 3;

    /// <summary>The number of nested levels. A comparison has the depth 1.</summary>
    public int Depth { get; private init; } = 1;

    /// <summary>The number of comparisons.</summary>
    public int Terms { get; private init; } = 1;

    /// <summary>True if the expression contains a delegate.</summary>
    public bool HasDelegate { get; private init; }

    /// <summary>The precedence of the outermost operator.</summary>
    protected abstract int Level { get; }

    public static FilterNode Tag(string key, IReadOnlyList<string>? values) => new TagNode(key, values);

    public static FilterNode Delegate(Func<Message, bool> accepts) => new DelegateNode(accepts) { HasDelegate = true };

    public static FilterNode Not(FilterNode inner) => inner is NotNode not
        ? not.Inner
        : new NotNode(inner) { Depth = inner.Depth + 1, Terms = inner.Terms, HasDelegate = inner.HasDelegate };

    /// <summary>Combines expressions with <c>and</c>.</summary>
    public static FilterNode All(IReadOnlyList<FilterNode> parts) => Combine(parts, isAll: true);

    /// <summary>Combines expressions with <c>or</c>.</summary>
    public static FilterNode Any(IReadOnlyList<FilterNode> parts) => Combine(parts, isAll: false);

    /// <summary>
    /// Adds the terms of this expression to a list. Returns the index of the first term to evaluate. The method adds
    /// the last term first, because each term stores the indexes of the next terms.
    /// </summary>
    public abstract int Compile(List<FilterTerm> terms, int onTrue, int onFalse);

    public override string ToString()
    {
        var text = new StringBuilder();
        Write(text);
        return text.ToString();
    }

    protected abstract void Write(StringBuilder text);

    void Write(StringBuilder text, int minLevel)
    {
        if (Level >= minLevel)
        {
            Write(text);
            return;
        }

        text.Append('(');
        Write(text);
        text.Append(')');
    }

    static FilterNode Combine(IReadOnlyList<FilterNode> parts, bool isAll)
    {
        if (parts.Count == 1) return parts[0];
        // "a and (b and c)" is the same as "a and b and c".
        FilterNode[] flat = [.. parts.SelectMany(part =>
            part is CombinedNode combined && combined.IsAll == isAll ? combined.Parts : [part])];
        return new CombinedNode(flat, isAll)
        {
            Depth = 1 + flat.Max(static part => part.Depth),
            Terms = flat.Sum(static part => part.Terms),
            HasDelegate = flat.Any(static part => part.HasDelegate),
        };
    }

    sealed class TagNode(string key, IReadOnlyList<string>? values) : FilterNode
    {
        protected override int Level => TermLevel;

        public override int Compile(List<FilterTerm> terms, int onTrue, int onFalse)
        {
            terms.Add(new FilterTerm(key, values) { OnTrue = onTrue, OnFalse = onFalse });
            return terms.Count - 1;
        }

        protected override void Write(StringBuilder text) => Write(text, isNegated: false);

        public void Write(StringBuilder text, bool isNegated)
        {
            if (values is null)
                text.Append(isNegated ? "not " : "").Append(key);
            else if (values.Count == 1)
                FilterSyntax.WriteValue(text.Append(key).Append(isNegated ? " != " : " = "), values[0]);
            else
                WriteSet(text.Append(key).Append(isNegated ? " not in (" : " in ("), values);
        }

        static void WriteSet(StringBuilder text, IReadOnlyList<string> values)
        {
            for (var i = 0; i < values.Count; i++) FilterSyntax.WriteValue(text.Append(i == 0 ? "" : ", "), values[i]);
            text.Append(')');
        }
    }

    sealed class DelegateNode(Func<Message, bool> accepts) : FilterNode
    {
        protected override int Level => TermLevel;

        public override int Compile(List<FilterTerm> terms, int onTrue, int onFalse)
        {
            terms.Add(new FilterTerm(accepts) { OnTrue = onTrue, OnFalse = onFalse });
            return terms.Count - 1;
        }

        protected override void Write(StringBuilder text) => text.Append("<delegate>");
    }

    sealed class NotNode(FilterNode inner) : FilterNode
    {
        public FilterNode Inner => inner;

        protected override int Level => NotLevel;

        public override int Compile(List<FilterTerm> terms, int onTrue, int onFalse) =>
            inner.Compile(terms, onFalse, onTrue);

        protected override void Write(StringBuilder text)
        {
            if (inner is TagNode tag) tag.Write(text, isNegated: true);
            else inner.Write(text.Append("not "), NotLevel);
        }
    }

    sealed class CombinedNode(FilterNode[] parts, bool isAll) : FilterNode
    {
        public FilterNode[] Parts => parts;

        public bool IsAll => isAll;

        protected override int Level => isAll ? AndLevel : OrLevel;

        public override int Compile(List<FilterTerm> terms, int onTrue, int onFalse)
        {
            for (var i = parts.Length - 1; i >= 0; i--)
            {
                if (isAll) onTrue = parts[i].Compile(terms, onTrue, onFalse);
                else onFalse = parts[i].Compile(terms, onTrue, onFalse);
            }

            return isAll ? onTrue : onFalse;
        }

        protected override void Write(StringBuilder text)
        {
            for (var i = 0; i < parts.Length; i++)
            {
                if (i > 0) text.Append(isAll ? " and " : " or ");
                parts[i].Write(text, Level + 1);
            }
        }
    }
}
