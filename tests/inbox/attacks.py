"""What mails do to be noticed: each makes a request, runs a script or leaves its frame."""

from __future__ import annotations

LISTENER = "http://127.0.0.1:LISTEN/"
"""``LISTEN`` is the port of a socket that counts who connects."""

U = LISTENER
ATTACKS = {
    "img": f"<img src={U}img>",
    "srcset": f"<img srcset='{U}srcset 1x'>",
    "stylesheet": f"<link rel=stylesheet href={U}css>",
    "import": f"<style>@import url({U}import);</style>",
    "background": f"<div style='background:url({U}background)'>x</div>",
    "background attribute": f"<table background={U}attribute><tr><td>x</table>",
    "font": f"<style>@font-face{{font-family:f;src:url({U}font)}} p{{font-family:f}}</style><p>x",
    "preconnect": f"<link rel=preconnect href={U}>",
    "dns-prefetch": f"<link rel=dns-prefetch href={U}>",
    "prefetch": f"<link rel=prefetch href={U}prefetch>",
    "preload": f"<link rel=preload as=image href={U}preload>",
    "modulepreload": f"<link rel=modulepreload href={U}module>",
    "icon": f"<link rel=icon href={U}icon>",
    "manifest": f"<link rel=manifest href={U}manifest>",
    "video": f"<video src={U}video poster={U}poster autoplay></video>",
    "audio": f"<audio src={U}audio autoplay></audio>",
    "object": f"<object data={U}object></object>",
    "embed": f"<embed src={U}embed>",
    "iframe": f"<iframe src={U}frame></iframe>",
    "iframe srcdoc": f"<iframe srcdoc='<img src={U}srcdoc>'></iframe>",
    "frameset": f"<frameset><frame src={U}frameset></frameset>",
    "input image": f"<form><input type=image src={U}input></form>",
    "svg image": f"<svg><image href={U}svg /></svg>",
    "svg use": f"<svg><use href='{U}use#x' /></svg>",
    "svg script": "<svg><script>document.title='pwned'</script></svg>",
    "script": f"<script src={U}script></script><script>document.title='pwned'</script>",
    "handler": "<img src=x onerror=\"document.title='pwned';alert(1)\">",
    "handler on body": "<body onload=\"document.title='pwned';alert(1)\">x",
    "meta refresh": f"<meta http-equiv=refresh content='0;url={U}refresh'>",
    "meta policy": f"<meta http-equiv=Content-Security-Policy content='report-uri {U}report'>",
    "base": f"<base href={U}><img src=base>",
    "form": f"<form action={U}form><button id=b>x</button></form><script>b.click()</script>",
    "ping": f"<a href={U}link ping={U}ping>x</a>",
    "top": f"<script>top.location='{U}top'</script><a target=_top href={U}top>x</a>",
    "speculation": (
        f'<script type=speculationrules>{{"prefetch":[{{"urls":["{U}spec"]}}]}}</script>'
    ),
    "javascript link": "<a href=\"javascript:document.title='pwned'\">x</a>",
    "mutation": f'<svg></p><style><a id="</style><img src={U}mutation onerror=alert(1)>">',
    "math mutation": (
        "<math><mtext><table><mglyph><style><!--</style>"
        f"<img title='--&gt;&lt;img src={U}math onerror=alert(1)&gt;'>"
    ),
    "noscript": (
        f'<noscript><p title="</noscript><img src={U}noscript onerror=alert(1)>"></noscript>'
    ),
    "template": f"<template><img src={U}template></template>",
    "css attribute": f"<style>a[href]{{background:url({U}css-attribute)}}</style><a href=x>x</a>",
    "image-set": f"<div style=\"background-image:image-set('{U}set' 1x)\">x</div>",
    "cursor": f"<div style='cursor:url({U}cursor),auto'>x</div>",
    "list image": f"<ul style='list-style-image:url({U}list)'><li>x</ul>",
    "picture": f"<picture><source srcset={U}picture><img src={U}pictured></picture>",
    "track": f"<video><track src={U}track default></video>",
}
